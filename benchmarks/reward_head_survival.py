"""How long a random policy lives: in the dream, from recorded beginnings, and in the real simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.real import make_real_env
from v2w_env.config import EnvConfig
from v2w_env.resets import EpisodeSource
from v2w_env.spaces import space_from_spec
from v2w_env.vector_env import Vid2WorldVectorEnv
from world_model.config import WorldModelConfig
from world_model.data import Episode
from world_model.model import WorldModel
from world_model.progress import progress_bar
from world_model.types import ActionSpec


@dataclass(frozen=True)
class Survival:
    """Lengths in steps int64 `[n]`, and returns float64 `[n]`, of episodes from their first frame on."""

    steps: NDArray[np.int64]
    returns: NDArray[np.float64]


@dataclass(frozen=True)
class Starts:
    """The first `t` frames uint8 `[n t h w 3]` of recorded episodes, their actions `[n t-1 *shape]`, and what these
    earned on average."""

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    earned: float

    @classmethod
    def of(cls, episodes: Sequence[Episode], context_frames: int) -> Starts:
        """Of those that are longer than the context.

        Raises:
            ValueError: if none is.
        """
        kept = [episode for episode in episodes if len(episode) >= context_frames]
        if not kept:
            raise ValueError(f"dataset: expected episodes of more than {context_frames} frames, found none")
        before = context_frames - 1
        return cls(
            np.stack([episode.frames[:context_frames] for episode in kept]),
            np.stack([episode.actions[:before] for episode in kept]),
            float(np.mean([episode.rewards[:before].sum() for episode in kept])),
        )


class RandomHold:
    """Random actions, each held for 1 to `hold` steps; a stream of its own for every episode."""

    def __init__(self, spec: ActionSpec, hold: int, seed: Sequence[int]) -> None:
        self.hold = hold
        self._rng = np.random.default_rng(list(seed))
        self._space = space_from_spec(spec)
        self._space.seed(int(self._rng.integers(2**31)))
        self._left = 0
        self._action: Any = None

    def __call__(self) -> Any:
        if self._left == 0:
            self._action, self._left = self._space.sample(), int(self._rng.integers(1, self.hold + 1))
        self._left -= 1
        return self._action


def dream_survival(
    model: WorldModel, starts: Starts, hold: int, episodes: int, max_steps: int, seed: int, num_envs: int = 32
) -> Survival:
    """Episodes in the imagined environment. The recorded context counts as lived through: `max_steps` includes it.

    Every sub-environment plays equally many episodes, since taking those that end first would favour short ones.
    """
    before = starts.frames.shape[1] - 1
    source = EpisodeSource(starts.frames, starts.actions, before + 1, start="first")
    config = EnvConfig(checkpoint=model, observation="latent", reward="learned", reset_source=source)
    env = Vid2WorldVectorEnv(config, num_envs, max(1, max_steps - before), AutoresetMode.DISABLED)
    wanted = -(-episodes // num_envs)
    spec = model.config.actions
    played = np.zeros(num_envs, np.int64)
    policies = [RandomHold(spec, hold, (seed, row, 0)) for row in range(num_envs)]
    lengths, returns = np.full(num_envs, before), np.full(num_envs, starts.earned)
    lives: list[tuple[int, float]] = []
    env.reset(seed=seed)
    with progress_bar(range(wanted * num_envs), f"dreaming, actions held up to {hold}", "episode") as bar:
        while (played < wanted).any():
            _, rewards, terminated, truncated, _ = env.step(np.stack([policy() for policy in policies]))
            lengths, returns = lengths + 1, returns + rewards
            ended = terminated | truncated
            for row in np.flatnonzero(ended):
                if played[row] < wanted:
                    lives.append((int(lengths[row]), float(returns[row])))
                    bar.update(1)
                played[row] += 1
                policies[row] = RandomHold(spec, hold, (seed, int(row), int(played[row])))
                lengths[row], returns[row] = before, starts.earned
            if ended.any():
                env.reset(options={"reset_mask": ended})
    env.close()
    return _survival(lives)


def real_survival(
    config: WorldModelConfig, simulator: str | None, hold: int, episodes: int, max_steps: int, seed: int
) -> Survival:
    """Episodes in the real simulator, reset with `seed`, `seed + 1`, ..."""
    env = make_real_env(config, simulator, horizon=max_steps)
    lives: list[tuple[int, float]] = []
    for episode in progress_bar(range(episodes), f"playing, actions held up to {hold}", "episode"):
        env.reset(seed=seed + episode)
        policy = RandomHold(config.actions, hold, (seed, episode))
        steps, total, ended = 0, 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(policy())
            steps, total, ended = steps + 1, total + float(reward), terminated or truncated
        lives.append((steps, total))
    env.close()
    return _survival(lives)


def survival_measures(dream: Survival, real: Survival, hold: int, seed: int, resamples: int = 2000) -> dict[str, Any]:
    """Mean lengths and returns, their ratio (dream over real) with its 95 % interval over resampled episodes, and
    `survival_error`, how far the ratio of lengths is from 1."""
    rng = np.random.default_rng(seed)
    draws = [
        life.steps[rng.integers(0, len(life.steps), (resamples, len(life.steps)))].mean(1) for life in (dream, real)
    ]
    ratio = float(dream.steps.mean() / real.steps.mean())
    return {
        f"survival_ratio_hold_{hold}": ratio,
        f"survival_ratio_hold_{hold}_ci": [float(x) for x in np.percentile(draws[0] / draws[1], [2.5, 97.5])],
        f"survival_error_hold_{hold}": abs(ratio - 1),
        f"dream_steps_hold_{hold}": float(dream.steps.mean()),
        f"real_steps_hold_{hold}": float(real.steps.mean()),
        f"dream_return_hold_{hold}": float(dream.returns.mean()),
        f"real_return_hold_{hold}": float(real.returns.mean()),
    }


def _survival(lives: Sequence[tuple[int, float]]) -> Survival:
    steps, returns = zip(*lives, strict=True)
    return Survival(np.array(steps, np.int64), np.array(returns, np.float64))
