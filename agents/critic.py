"""A critic that has seen the recording before the agent's first dream.

What kills a player is on the screen before it does, in a recording as in a dream; but in an affordable training an
agent meets it too seldom to tell it from the rest. The recording that the world model learned from holds many more such
moments, with how each of them came out. So the value function, and the network that looks at observations for it, can
begin as a regression onto recorded returns. The policy's own layers are not touched: what to do, the agent learns in
the dream alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor
from torch.nn import functional

from agents.recorded_returns import RecordedReturns, read_returns
from world_model.data import DatasetConfig, RecordedDataset, open_dataset
from world_model.model import WorldModel
from world_model.progress import progress_bar

ACTOR_CRITICS = ("PPO", "A2C")
BATCH_SIZE = 256
LEARNING_RATE = 1e-3  # the highest: it rises for three tenths of the fit, and falls to nothing
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is fitted to recorded returns.

    Attributes:
        dataset: Folder of a recording with rewards, as a rule the one that the world model learned from; ``None``: no
            fit, the critic begins with random weights.
        mirror: What each action is in a mirror, for worlds that are their own mirror image: training episodes are there
            twice then, see :func:`world_model.data.mirroring.mirrored`.
        epochs: Passes over the training part.
        latent_cache: Folder for the recording's latents, where an agent sees latents; ``None``: encoded every time.
    """

    dataset: str | None = None
    mirror: tuple[float, ...] | None = None
    epochs: int = 3
    latent_cache: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"critic.epochs: expected at least 1, got {self.epochs}")

    def identity(self) -> dict[str, Any]:
        """What decides which critic comes out, as plain JSON values."""
        mirror = None if self.mirror is None else [float(action) for action in self.mirror]
        return {"dataset": self.dataset, "mirror": mirror, "epochs": self.epochs}


def open_recording(config: CriticConfig, model: WorldModel, algorithm: str) -> RecordedDataset:
    """The recording that a critic of an SB3 ``algorithm`` is to be fitted to.

    Raises:
        ValueError: The algorithm has no such critic; there is no such recording, or it is not of this world.
    """
    if algorithm not in ACTOR_CRITICS:
        raise ValueError(f"critic.dataset: only {' and '.join(ACTOR_CRITICS)} have a critic of states, not {algorithm}")
    assert config.dataset is not None
    world = model.config
    recorded = open_dataset(DatasetConfig(config.dataset, mirror=config.mirror, action_block=world.action_block))
    where = f"critic.dataset {recorded.path}"
    if not recorded.ids("train"):
        raise ValueError(f"{where}: it has no training episodes")
    if recorded.action_spec.shape != world.actions.shape:
        raise ValueError(
            f"{where}: expected the world's actions, of shape {world.actions.shape}, got {recorded.action_spec.shape}"
        )
    if recorded.frame_size != tuple(world.frame_size):
        raise ValueError(f"{where}: expected frames of {world.frame_size} (h w), got {recorded.frame_size}")
    return recorded


def fit_critic(
    agent: BaseAlgorithm, config: CriticConfig, model: WorldModel, repeat: int, seed: int, progress: bool = True
) -> dict[str, float]:
    """Fit the agent's value function, and what it sees with, to the returns of recorded episodes.

    Returns are discounted as the agent discounts. Where rewards are normalised, their scale is taken from the recording
    too, as if it had been met in training. Nothing is drawn from the global random streams.

    Args:
        agent: PPO or A2C, untrained, in front of its environment.
        config: Which recording, and how long.
        model: The world model, whose frames, latents and actions these are.
        repeat: Environment steps per action of the agent.
        seed: Of the order of observations.
        progress: Show a progress bar.

    Returns:
        ``steps`` of the fit, ``frames`` it had, and ``explained_variance`` of the returns in the validation part
        (``explained_variance_train``: over the last quarter of the steps). NaN where there is nothing to explain.

    Raises:
        ValueError: The algorithm has no such critic; the recording has no rewards, or is not of this world.
    """
    policy, env = agent.policy, agent.get_env()
    recorded = open_recording(config, model, type(agent).__name__)
    assert isinstance(policy, ActorCriticPolicy) and env is not None
    train, validation = (_read(recorded, part, agent, model, config) for part in ("train", "validation"))
    if not any(np.any(each) for each in train.rewards):
        raise ValueError(f"critic.dataset {recorded.path}: its training part has no rewards, all of them are 0")
    gamma = float(agent.gamma)  # type: ignore[attr-defined]
    scale = _take_scale(env, train.so_far(gamma, repeat), repeat)
    aims = torch.from_numpy(train.returns(gamma, repeat) / scale).float()
    steps = config.epochs * math.ceil(len(train) / BATCH_SIZE)
    optimizer = torch.optim.Adam(policy.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    late: list[tuple[Tensor, Tensor]] = []
    policy.set_training_mode(True)
    batches = _batches(len(train), config.epochs, np.random.default_rng(seed))
    for step, rows in enumerate(progress_bar(batches, "critic", "step", steps, progress)):
        values, aim = _values(policy, train.observations(rows)), aims[rows]
        optimizer.zero_grad()
        functional.mse_loss(values, aim.to(values.device)).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        if step >= 3 * steps // 4:
            late.append((values.detach().cpu(), aim))
    policy.set_training_mode(False)
    optimizer.zero_grad()
    expected = torch.from_numpy(validation.returns(gamma, repeat) / scale).float()
    return {
        "steps": steps,
        "frames": len(train.frames),
        "explained_variance_train": _explained(*(torch.cat(side) for side in zip(*late, strict=True))),
        "explained_variance": _explained(_judged(policy, validation), expected),
    }


def _read(
    recorded: RecordedDataset, part: str, agent: BaseAlgorithm, model: WorldModel, config: CriticConfig
) -> RecordedReturns:
    space = agent.observation_space
    assert isinstance(space, Box)
    if space.dtype == np.uint8:
        return read_returns(recorded, part, space.shape[0] // 3)
    cache = None if config.latent_cache is None else Path(config.latent_cache)
    return read_returns(recorded, part, space.shape[0] // model.config.latent_shape[0], model, cache)


def _take_scale(env: VecEnv, so_far: NDArray[np.float64], repeat: int) -> float:
    """What returns are divided by: where rewards are normalised, what they are from now on."""
    normalize = unwrap_vec_normalize(env)
    if normalize is None or not normalize.norm_reward:
        return 1.0
    # One in `repeat` of these moments is a decision's end, which is when the wrapper looks.
    normalize.ret_rms.update_from_moments(so_far.mean(), so_far.var(), len(so_far) / repeat)
    return float(np.sqrt(normalize.ret_rms.var + normalize.epsilon))


def _batches(count: int, epochs: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(epochs):
        order = rng.permutation(count)
        yield from (order[i : i + BATCH_SIZE] for i in range(0, count, BATCH_SIZE))


def _values(policy: ActorCriticPolicy, observations: NDArray[Any]) -> Tensor:
    return policy.predict_values(torch.from_numpy(observations).to(policy.device))[:, 0]


def _judged(policy: ActorCriticPolicy, recorded: RecordedReturns) -> Tensor:
    rows = np.arange(len(recorded))
    with torch.no_grad():
        batches = range(0, len(rows), BATCH_SIZE)
        found = [_values(policy, recorded.observations(rows[i : i + BATCH_SIZE])).cpu() for i in batches]
    return torch.cat([torch.zeros(0), *found])


def _explained(values: Tensor, aims: Tensor) -> float:
    """Share of the variance of ``aims`` that ``values`` tell."""
    spread = float(aims.var(correction=0)) if len(aims) else 0.0
    return 1 - float((aims - values).var(correction=0)) / spread if spread > 0 else math.nan
