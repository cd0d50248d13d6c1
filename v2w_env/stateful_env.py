"""What a batched imagined environment holds between steps, and how that is looked at, saved, restored and branched."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from v2w_env.config import EnvConfig
from v2w_env.frames import to_model, to_pixels
from v2w_env.loading import World, load_world
from v2w_env.rng import SubEnvRng
from v2w_env.state import EnvState
from world_model.model import WorldModel
from world_model.types import WorldState

Env = TypeVar("Env", bound="StatefulVectorEnv")


class StatefulVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """``num_envs`` imagined environments at one moment.

    What moves them on, and what the arguments mean, is in :class:`~v2w_env.vector_env.Vid2WorldVectorEnv`. All that a
    reset or a step changes is what :meth:`get_state` returns.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it per instance)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        world: World | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs: expected at least 1, got {num_envs}")
        if max_episode_steps is not None and max_episode_steps != -1 and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: expected at least 1, -1 or None, got {max_episode_steps}")
        self.num_envs = num_envs
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = config.render_mode
        self._world: World | None = world or load_world(config)
        self.metadata = {
            **type(self).metadata,
            "render_fps": self._world.model.config.fps,
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space: gym.spaces.Box = self._world.observation_space
        self.single_action_space = self._world.actions.space
        self._pixels = config.observation == "pixels"
        self._rngs: list[SubEnvRng | None] = [None] * num_envs
        self._state: WorldState | None = None
        self._frames: np.ndarray | None = None
        self._goals: torch.Tensor | None = None
        self._contexts: list[np.ndarray] = [np.zeros(0, np.uint8)] * num_envs
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, np.bool_)

    # Batched spaces cost more than a fork may; planners, who fork, do not look at them.
    @cached_property
    def observation_space(self) -> gym.Space[Any]:  # type: ignore[override]
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> gym.Space[Any]:  # type: ignore[override]
        return batch_space(self.single_action_space, self.num_envs)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each sub-environment's generator for resets."""
        return tuple(self.rng(i).numpy for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Each sub-environment's seed."""
        return tuple(self.rng(i).seed for i in range(self.num_envs))

    @property
    def world_model(self) -> WorldModel:
        """The world model behind this environment; environments made from one checkpoint share it."""
        return self._open_world().model

    def rng(self, index: int) -> SubEnvRng:
        """The random streams of one sub-environment, seeded from the operating system if nobody has seeded them."""
        rng = self._rngs[index]
        if rng is None:
            rng = self._rngs[index] = SubEnvRng.from_seed(None)
        return rng

    def set_rng(self, index: int, rng: SubEnvRng) -> None:
        self._rngs[index] = rng

    # ---- the present

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The newest frame of each sub-environment, uint8 ``[h w 3]``; ``None`` without ``render_mode="rgb_array"``."""
        world = self._open_world()
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the env with render_mode='rgb_array'")
            return None
        if self._state is None:
            raise ResetNeeded("render: call reset() first")
        if self._pixels:
            assert self._frames is not None
            return tuple(self._frames.copy())
        with torch.no_grad():
            return tuple(self._decode(world, self._state.latent))

    def context(self, row: int) -> np.ndarray:
        """Observations before the first one of a sub-environment's newest episode, ``[t *shape]``, oldest first.

        They are what the world model was shown of the past: agents that see several frames need not begin blind. After
        :meth:`set_state` those of the last reset are still given.
        """
        frames = self._contexts[row]
        if self._pixels or not len(frames):
            return frames.reshape(-1, *self.single_observation_space.shape)
        world = self._open_world()
        with torch.no_grad():
            return world.model.encode(to_model(frames[None], world.device))[0].cpu().numpy()

    def _observe(self) -> np.ndarray:
        """The current observations, a fresh array."""
        assert self._state is not None
        if self._pixels:
            assert self._frames is not None
            return self._frames.copy()
        return self._state.latent.float().cpu().numpy().copy()

    def _decode(self, world: World, latents: torch.Tensor) -> np.ndarray:
        return to_pixels(world.model.decode(latents[:, None])[:, 0])

    # ---- state as a value

    def get_state(self) -> EnvState:
        """Everything that decides what happens next, as a value that later steps leave alone."""
        self._open_world()
        if self._state is None:
            raise ResetNeeded("get_state: call reset() first")
        rngs = tuple(self.rng(i).state() for i in range(self.num_envs))
        return EnvState(self._state, self._frames, self._goals, self._elapsed.copy(), self._ended.copy(), rngs)

    def set_state(self, state: EnvState) -> None:
        """Continue from ``state``, taken from this or another environment of the same world model.

        Raises:
            ValueError: The state has another number of sub-environments, another frame size or other goals.
        """
        world = self._open_world()
        if not isinstance(state, EnvState):
            raise ValueError(f"set_state: expected an EnvState from get_state(), got {type(state).__name__}")
        state.check_fits(self.num_envs, world.model.config.latent_shape, world.reward.goal_space != "none")
        moved = state.world.latent.device != world.device
        self._state = state.world.to(world.device) if moved else state.world
        self._frames = state.frames
        if self._pixels and state.frames is None:
            with torch.no_grad():
                self._frames = self._decode(world, self._state.latent)
        self._goals = None if state.goals is None else state.goals.to(world.device)
        self._elapsed, self._ended = state.elapsed_steps.copy(), state.ended.copy()
        self._rngs = [SubEnvRng.from_state(rng) for rng in state.rngs]

    def fork(
        self: Env,
        n: int,
        index: int | None = None,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | str | None = None,
    ) -> Env:
        """Branch into a new environment that shares the weights and starts at this moment.

        Args:
            n: Copies of each sub-environment; copies of one stand next to each other.
            index: Fork only this sub-environment; ``None`` forks all of them.
            seed: ``None`` copies the random streams: same actions, same frames in every copy. An int seeds copy ``i``
                with ``seed + i``.
            autoreset_mode: Mode of the new environment, by default this one's.

        Returns:
            An environment of ``n`` (or ``n * num_envs``) sub-environments.
        """
        if n < 1:
            raise ValueError(f"fork: expected at least 1 copy, got {n}")
        if index is not None and not -self.num_envs <= index < self.num_envs:
            raise ValueError(f"fork: index {index} is out of range for {self.num_envs} sub-envs")
        world, state = self._open_world(), self.get_state()
        state = (state if index is None else state.select([index % self.num_envs])).repeat(n)
        mode = self.autoreset_mode if autoreset_mode is None else autoreset_mode
        branch = type(self)(world.config, state.num_envs, self.max_episode_steps, mode, world)
        branch.set_state(state)
        if seed is not None:
            branch._rngs = [SubEnvRng.from_seed(seed + i) for i in range(state.num_envs)]
        return branch

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of state and weights; the weights are freed once no other environment uses them."""
        self._world = self._state = self._frames = self._goals = None

    def _open_world(self) -> World:
        if self._world is None:
            raise ClosedEnvironmentError("this environment is closed; make a new one")
        return self._world
