"""Real environments, one or many, behind one face: frames in the world model's size, actions in their own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from v2w_env.action_blocks import ActionBlocks
from v2w_env.collect.frames import FrameSource, image_key, resize
from v2w_env.infos import sub_env_info
from v2w_env.spaces import space_from_spec
from world_model.types import ActionSpec

Environments: TypeAlias = gym.Env | Sequence[gym.Env] | VectorEnv
Options: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None


@dataclass(frozen=True, eq=False)
class RealStep:
    """What ``m`` environments did.

    Attributes:
        frames: uint8 ``[m h w 3]`` after the step.
        rewards: ``[m]``, summed over repeated actions.
        terminated: ``[m]`` bools.
        truncated: ``[m]`` bools.
        infos: one dictionary each.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: list[dict[str, Any]]


class RealEnvs(Protocol):
    """``num_envs`` environments; ``step`` moves some of them."""

    num_envs: int

    def reset(self, seed: int | None, options: Options) -> np.ndarray:
        """First frames, uint8 ``[b h w 3]``."""
        ...

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> RealStep:
        """Take ``actions [m *shape]`` in the environments ``rows``."""
        ...


def open_envs(
    envs: Environments,
    spec: ActionSpec,
    frame_size: tuple[int, int],
    frame_skip: int = 1,
    action_block: int = 1,
) -> RealEnvs:
    """The right face for one environment, a list of them, or a vector environment.

    Args:
        spec: of the world model's actions.
        frame_size: of its frames; those of the environments are resized to it.
        frame_skip: environment steps that each action is held for.
        action_block: of the world model; environments that take single actions are given blocks one by one.

    Raises:
        ValueError: no environment, another action space, or nothing to see.
    """
    if isinstance(envs, VectorEnv):
        check_actions(envs.single_action_space, spec)
        return _Vector(envs, frame_size, frame_skip)
    singles = [envs] if isinstance(envs, gym.Env) else list(envs)
    if not singles or not all(isinstance(env, gym.Env) for env in singles):
        raise ValueError(f"envs: expected an environment, some in a list, or a vector environment, got {envs!r}")
    return _List([at_pace(env, spec, frame_skip, action_block) for env in singles], frame_size)


def at_pace(env: gym.Env, spec: ActionSpec, frame_skip: int, action_block: int) -> gym.Env:
    """``env`` with one step for each action of the world model; it may take blocks of actions already.

    Raises:
        ValueError: another action space.
    """
    paced = ActionBlocks(env, 1 if env.action_space.shape == spec.shape else action_block, frame_skip)
    check_actions(paced.action_space, spec)
    return paced


class _List:
    def __init__(self, envs: list[gym.Env], frame_size: tuple[int, int]) -> None:
        self.envs, self.num_envs = envs, len(envs)
        self._sources = [FrameSource(env, frame_size) for env in envs]

    def reset(self, seed: int | None, options: Options) -> np.ndarray:
        frames = []
        for i, (env, source, chosen) in enumerate(
            zip(self.envs, self._sources, _options_each(options, self.num_envs), strict=True)
        ):
            observation, _ = env.reset(seed=None if seed is None else seed + i, options=chosen)
            frames.append(source(observation))
        return np.stack(frames)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> RealStep:
        results = [self.envs[row].step(action) for row, action in zip(rows, actions, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*results, strict=True)
        frames = [self._sources[row](observation) for row, observation in zip(rows, observations, strict=True)]
        return RealStep(
            np.stack(frames), np.array(rewards, np.float64), np.array(terminated), np.array(truncated), list(infos)
        )


class _Vector:
    """All sub-environments step together; those that are not asked for repeat the action they took last."""

    def __init__(self, envs: VectorEnv, frame_size: tuple[int, int], frame_skip: int) -> None:
        if frame_skip > 1:
            raise ValueError(
                "frame_skip: a vector environment cannot hold actions; wrap its sub-environments, or use 1"
            )
        self.envs, self.frame_size, self.num_envs = envs, frame_size, envs.num_envs
        self._key = image_key(envs.single_observation_space)
        if self._key is None and envs.render_mode != "rgb_array":
            raise ValueError(
                f"envs: expected image observations or render_mode='rgb_array', got {envs.single_observation_space}"
            )
        self._mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._last: np.ndarray | None = None

    def reset(self, seed: int | None, options: Options) -> np.ndarray:
        if options is not None and not isinstance(options, Mapping):
            raise ValueError("options: a vector environment takes one dictionary for all, got a sequence")
        observations, _ = self.envs.reset(seed=seed, options=None if options is None else dict(options))
        return self._frames(observations)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> RealStep:
        index = list(rows)
        if self._last is None:
            self._last = np.repeat(actions[:1], self.num_envs, axis=0)
        self._last[index] = actions
        observations, rewards, terminated, truncated, infos = self.envs.step(self._last.copy())
        ended = terminated | truncated
        frames = self._frames(observations)
        if self._mode is AutoresetMode.SAME_STEP and self._key is not None:
            for row in np.flatnonzero(ended):
                frames[row] = self._frame(infos["final_obs"][row])
        elif self._mode is AutoresetMode.DISABLED and ended.any():
            self.envs.reset(options={"reset_mask": ended})
        each = [sub_env_info(infos, row) for row in index]
        return RealStep(frames[index], np.asarray(rewards)[index], terminated[index], truncated[index], each)

    def _frames(self, observations: Any) -> np.ndarray:
        if self._key is None:
            return np.stack([resize(np.asarray(frame), self.frame_size) for frame in self.envs.render() or ()])
        images = observations[self._key] if self._key else observations
        return np.stack([resize(image, self.frame_size) for image in images])

    def _frame(self, observation: Any) -> np.ndarray:
        return resize(observation[self._key] if self._key else observation, self.frame_size)


def _options_each(options: Options, count: int) -> list[dict[str, Any] | None]:
    if options is None or isinstance(options, Mapping):
        return [None if options is None else dict(options) for _ in range(count)]
    if len(options) != count:
        raise ValueError(f"options: expected one dictionary per environment ({count}), got {len(options)}")
    return [None if one is None else dict(one) for one in options]


def check_actions(space: gym.Space[Any], spec: ActionSpec) -> None:
    """Raise :class:`ValueError` unless an environment takes the actions that the world model learned."""
    expected = space_from_spec(spec)
    if type(space) is not type(expected) or space.shape != expected.shape:
        raise ValueError(f"envs: expected the action space that the world model learned, {expected}, got {space}")
