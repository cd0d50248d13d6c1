"""The real simulator, looking exactly as the dream does: same frames, same actions, same pace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.spaces import zero_based
from agents.wrappers import LatentObservations
from v2w_env.action_blocks import ActionBlocks
from v2w_env.collect.frames import FrameSource
from v2w_env.collect.simulator import image_settings, make_simulator
from v2w_env.config import ActionRange, Observation
from v2w_env.frames import to_model
from v2w_env.spaces import ActionAdapter, space_from_spec
from world_model.config import WorldModelConfig
from world_model.model import WorldModel


class RealEnv(gym.Env[np.ndarray, Any]):
    """One simulator as the world model was shown it.

    A step holds the action, or each one of a block of actions, for ``frame_skip`` steps of the simulator (fewer where
    it ends) and sums their rewards; ``info["simulator_steps"]`` counts them. Observations are uint8 ``[h w 3]`` of the
    world model's size.

    Args:
        simulator: The environment to look at; closed with this one.
        config: The world model's configuration.
        action_range: As of the imagined environment.

    Raises:
        ValueError: The simulator takes other actions than the world model learned, or shows nothing.
    """

    def __init__(self, simulator: gym.Env, config: WorldModelConfig, action_range: ActionRange = "native") -> None:
        self._paced = ActionBlocks(simulator, config.action_block, config.frame_skip)
        expected, space = space_from_spec(config.actions), self._paced.action_space
        if type(space) is not type(expected) or space.shape != expected.shape:
            raise ValueError(f"simulator: expected the actions that the world model learned, {expected}, got {space}")
        self.simulator = simulator
        self._source = FrameSource(simulator, config.frame_size)
        self._adapter = ActionAdapter(config.actions, action_range)
        self.observation_space = gym.spaces.Box(0, 255, (*config.frame_size, 3), np.uint8)
        self.action_space = self._adapter.space
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": config.fps}
        self._frame: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; ``seed`` and ``options`` are the simulator's."""
        super().reset(seed=seed)
        observation, info = self.simulator.reset(seed=seed, options=options)
        self._frame = self._source(observation)
        return self._frame.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Raises :class:`gymnasium.error.InvalidAction` as the imagined environment does."""
        native = self._adapter.check(action, (), "action")[()]  # simulators expect a discrete one as a scalar
        observation, reward, terminated, truncated, info = self._paced.step(native)
        self._frame = self._source(observation)
        info = {**info, "simulator_steps": self._paced.simulator_steps}
        return self._frame.copy(), reward, terminated, truncated, info

    def render(self) -> np.ndarray:
        """The newest frame, uint8 ``[h w 3]``."""
        assert self._frame is not None, "call reset() first"
        return self._frame.copy()

    def close(self) -> None:
        self.simulator.close()


def open_simulator(
    config: WorldModelConfig, simulator: str | None = None, kwargs: Mapping[str, Any] | None = None
) -> gym.Env:
    """The simulator that a world model was recorded from.

    Args:
        config: The world model's configuration.
        simulator: Its Gymnasium id; ``None``: the one in ``config``.
        kwargs: Given to ``gymnasium.make``; ``None``: images of the model's size, where that is known how.

    Raises:
        ValueError: Nobody says which simulator, or it cannot be made; the message names what to install.
    """
    id = simulator or config.source_env
    if not id:
        raise ValueError("simulator: this world model does not say what it was recorded from; name a Gymnasium id")
    if kwargs is None:
        kwargs = image_settings(id, config.frame_size)
    return make_simulator(id, dict(kwargs))


def make_real_env(
    config: WorldModelConfig,
    simulator: str | None = None,
    simulator_kwargs: Mapping[str, Any] | None = None,
    horizon: int | None = None,
    action_range: ActionRange = "native",
) -> gym.Env[np.ndarray, Any]:
    """One real environment that ends after ``horizon`` steps; see :class:`RealEnv` and :func:`open_simulator`."""
    inner = open_simulator(config, simulator, simulator_kwargs)
    try:
        env: gym.Env = RealEnv(inner, config, action_range)
    except ValueError:
        inner.close()
        raise
    return env if horizon is None else gym.wrappers.TimeLimit(env, horizon)


def make_real(
    model: WorldModel,
    num_envs: int = 1,
    simulator: str | None = None,
    simulator_kwargs: Mapping[str, Any] | None = None,
    horizon: int | None = None,
    action_range: ActionRange = "native",
    observation: Observation = "pixels",
) -> VecEnv:
    """The real simulator as an SB3 ``VecEnv`` with the spaces of :class:`~agents.sb3_vec_env.WorldModelVecEnv`.

    Args:
        model: The world model; it says what the simulator is and how it was recorded, and encodes latents.
        num_envs: Simulators, stepped one after the other.
        simulator: See :func:`open_simulator`; so is ``simulator_kwargs``.
        horizon: Steps after which episodes are truncated; ``None`` for the simulator's own limit.
        action_range: As of the imagined environment; so is ``observation``.
    """

    def make() -> gym.Env:
        env = make_real_env(model.config, simulator, simulator_kwargs, horizon, action_range)
        space, offset = zero_based(env.action_space)
        return env if space is env.action_space else gym.wrappers.TransformAction(env, lambda a: a + offset, space)

    venv: VecEnv = DummyVecEnv([make for _ in range(num_envs)])
    return venv if observation == "pixels" else LatentObservations(venv, encoder(model), model.config.latent_shape)


def encoder(model: WorldModel) -> Callable[[np.ndarray], np.ndarray]:
    """Frames uint8 ``[n h w 3]`` -> latents float32 ``[n c h w]``, as an imagined environment observes them."""

    def encode(frames: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            latents = model.encode(to_model(np.ascontiguousarray(frames)[:, None], model.device))
        return latents[:, 0].float().cpu().numpy()

    return encode
