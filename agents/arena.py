"""Where policies are judged: some episodes at a time, in the real simulator or in a dream, each with its own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from agents.real import RealEnv
from v2w_env.vector_env import Vid2WorldVectorEnv


@dataclass(frozen=True, eq=False)
class Moves:
    """What one action did in each of ``m`` episodes.

    Attributes:
        frames: uint8 ``[m h w 3]``, the new frames.
        rewards: float64 ``[m]``.
        terminated: bool ``[m]``.
        truncated: bool ``[m]``.
        simulator_steps: int64 ``[m]``, steps of the simulator that this took, or would have taken.
        success: per episode whether ``info["is_success"]``; ``None`` where the environment does not say.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    simulator_steps: np.ndarray
    success: tuple[bool | None, ...]


class Arena(Protocol):
    """``num_envs`` rows, in each of which one episode can be played at a time. Actions are in the simulator's units."""

    num_envs: int

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        """Begin episodes; their first frames, uint8 ``[m h w 3]``."""
        ...

    def step(self, rows: Sequence[int], actions: np.ndarray) -> Moves:
        """Take ``actions [m *shape]`` in ``rows``, whose episodes are going on."""
        ...

    def close(self) -> None: ...


class RealArena:
    """Simulators, stepped one after the other.

    Args:
        make: Makes one, see :func:`agents.real.make_real_env`.
        num_envs: How many.
    """

    def __init__(self, make: Callable[[], gym.Env], num_envs: int = 1) -> None:
        self.num_envs = num_envs
        self._envs = [make() for _ in range(num_envs)]
        if not all(isinstance(env.unwrapped, RealEnv) for env in self._envs):
            raise ValueError(f"make: expected environments from make_real_env, got {self._envs[0]}")

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        return np.stack([self._envs[row].reset(seed=seed)[0] for row, seed in zip(rows, seeds, strict=True)])

    def step(self, rows: Sequence[int], actions: np.ndarray) -> Moves:
        results = [self._envs[row].step(action) for row, action in zip(rows, actions, strict=True)]
        frames, rewards, terminated, truncated, infos = zip(*results, strict=True)
        return Moves(
            np.stack(frames),
            np.array(rewards, np.float64),
            np.array(terminated),
            np.array(truncated),
            np.array([info["simulator_steps"] for info in infos]),
            tuple(_success(info.get("is_success")) for info in infos),
        )

    def close(self) -> None:
        for env in self._envs:
            env.close()


class DreamArena:
    """An imagined environment; its rows are computed in one batch, also those whose episodes are over.

    Args:
        env: In DISABLED mode, with pixels as observations; closed with this.

    Raises:
        ValueError: Another mode, or latents.
    """

    def __init__(self, env: Vid2WorldVectorEnv) -> None:
        if env.autoreset_mode is not AutoresetMode.DISABLED or env.single_observation_space.dtype != np.uint8:
            raise ValueError(
                "env: expected an imagined environment of frames with autoreset_mode='Disabled', got "
                f"{env.autoreset_mode.value!r} and {env.single_observation_space}"
            )
        self.env, self.num_envs = env, env.num_envs
        self._skip = env.world_model.config.frame_skip
        self._over: np.ndarray | None = None
        self._last: np.ndarray | None = None

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        mask = np.isin(np.arange(self.num_envs), list(rows))
        each = dict(zip(rows, seeds, strict=True))
        if self._over is None:  # the first time, all rows need a start
            options, filled = None, [each.get(row, row) for row in range(self.num_envs)]
        else:
            options, filled = {"reset_mask": mask}, [each.get(row) for row in range(self.num_envs)]  # type: ignore[misc]
        frames, _ = self.env.reset(seed=filled, options=options)
        self._over = np.zeros(self.num_envs, np.bool_) if self._over is None else self._over & ~mask
        return frames[list(rows)]

    def step(self, rows: Sequence[int], actions: np.ndarray) -> Moves:
        assert self._over is not None, "call reset() first"
        if self._over.any():  # episodes that nobody goes on with: any start will do
            self.reset(np.flatnonzero(self._over).tolist(), [0] * int(self._over.sum()))
        if self._last is None:
            self._last = np.repeat(actions[:1], self.num_envs, axis=0)
        self._last[list(rows)] = actions
        frames, rewards, terminated, truncated, infos = self.env.step(self._last.copy())
        self._over = terminated | truncated
        index = list(rows)
        success = infos.get("is_success")
        return Moves(
            frames[index],
            rewards[index],
            terminated[index],
            truncated[index],
            np.full(len(index), self._skip),
            tuple(None if success is None else bool(success[row]) for row in index),
        )

    def close(self) -> None:
        self.env.close()


def _success(value: Any) -> bool | None:
    return None if value is None else bool(value)
