"""Policies from recorded starts in the dream, all in one batch, and in the real simulator, watched by one verifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.policies import Policy
from agents.real import RealEnv
from benchmarks.policy_coverage import coverage
from benchmarks.policy_log import PolicyAttempt
from benchmarks.policy_starts import RecordedStart, replay, together
from v2w_env.config import EnvConfig
from v2w_env.loading import load_world
from v2w_env.vector_env import Vid2WorldVectorEnv
from world_model.model import WorldModel

Verifier = Literal["coverage", "return"]
Pair = tuple[str, int]
"""A policy's name and a start's place in the list; the latter is the row that the policy acts in."""


class World(Protocol):
    """Rows that begin at a start and are stepped together; rows that are over stay so."""

    def begin(self, starts: Sequence[RecordedStart], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """First frames uint8 [n h w 3]."""
        ...

    def step(self, actions: Mapping[int, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
        """Frames [n h w 3], rewards [n] and endings [n] after `actions` of the rows that go on."""
        ...

    def close(self) -> None: ...


def play(
    world: World,
    policies: Mapping[str, Policy],
    pairs: Sequence[Pair],
    starts: Sequence[RecordedStart],
    horizon: int,
    verifier: Verifier,
    seed: int = 0,
) -> list[PolicyAttempt]:
    """Let every pair of policy and start play for `horizon` steps, or to the end of the episode.

    Returns:
        An attempt per pair: the largest coverage of any step ("coverage": endings are not looked at), or the return.

    Raises:
        ValueError: a reward that is not finite; names policy, start and step.
    """
    frames = world.begin([starts[start] for _, start in pairs], [_seed(seed, starts[start]) for _, start in pairs])
    for name, policy in policies.items():
        policy.reset([start for other, start in pairs if other == name])
    values, steps = np.zeros(len(pairs)), np.zeros(len(pairs), np.int64)
    alive = np.ones(len(pairs), np.bool_)
    for step in range(horizon):
        actions: dict[int, Any] = {}
        for name, policy in policies.items():
            rows = [row for row in np.flatnonzero(alive).tolist() if pairs[row][0] == name]
            if rows:
                chosen = policy.act(frames[rows], [pairs[row][1] for row in rows])
                actions.update(zip(rows, chosen, strict=True))
        frames, rewards, ended = world.step(actions)
        steps[alive] += 1
        if verifier == "coverage":
            values = np.maximum(values, coverage(frames))
            continue
        bad = np.flatnonzero(alive & ~np.isfinite(rewards))
        if len(bad):
            name, start = pairs[int(bad[0])]
            raise ValueError(f"policy {name!r}, start {start}, step {step}: expected a finite reward, got NaN")
        values[alive] += rewards[alive]
        alive &= ~ended
        if not alive.any():
            break
    return [
        PolicyAttempt(name, starts[start].digest(), float(values[row]), int(steps[row]))
        for row, (name, start) in enumerate(pairs)
    ]


class DreamWorld:
    """The imagined environment. Rows of episodes that are over are not looked at, and left out of the batch once they
    are half of it."""

    def __init__(self, model: WorldModel, verifier: Verifier) -> None:
        self._config = EnvConfig(checkpoint=model, reward="learned" if verifier == "return" else "none")
        self._env: Vid2WorldVectorEnv | None = None
        self._world = load_world(self._config)
        self._options: dict[str, NDArray[Any]] = {}
        self._actions: NDArray[Any] | None = None
        self._frames: NDArray[np.uint8] = np.zeros((0, 0, 0, 3), np.uint8)
        self._rows = np.zeros(0, np.int64)  # that are still in the batch
        self._over = np.zeros(0, np.bool_)

    def begin(self, starts: Sequence[RecordedStart], seeds: Sequence[int]) -> NDArray[np.uint8]:
        self._rows, self._over = np.arange(len(starts)), np.zeros(len(starts), np.bool_)
        self._options, self._actions = together(starts), None
        env = self._open(len(starts))
        self._frames, _ = env.reset(seed=list(seeds), options=dict(self._options))
        return self._frames.copy()

    def step(self, actions: Mapping[int, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
        env, rows = self._env, self._rows
        assert env is not None, "call begin() first"
        if self._actions is None:
            self._actions = np.stack([actions[row] for row in sorted(actions)])
        for row, action in actions.items():
            self._actions[row] = action
        rewards, ended = np.zeros(len(self._over)), np.zeros(len(self._over), np.bool_)
        self._frames[rows], rewards[rows], terminated, truncated, _ = env.step(self._actions[rows])
        ended[rows] = terminated | truncated
        self._over |= ended
        if ended.any():
            self._clear(env, ended[rows])
        return self._frames.copy(), rewards, ended

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _open(self, num_envs: int) -> Vid2WorldVectorEnv:
        self.close()
        self._env = Vid2WorldVectorEnv(self._config, num_envs, autoreset_mode=AutoresetMode.DISABLED, world=self._world)
        return self._env

    def _clear(self, env: Vid2WorldVectorEnv, ended: NDArray[np.bool_]) -> None:
        """Go on without the rows that are over, or begin anything in them: nobody looks at them any more."""
        left = np.flatnonzero(~self._over[self._rows])
        if 0 < len(left) <= len(self._rows) / 2:
            state = env.get_state().select(left.tolist())
            self._rows = self._rows[left]
            self._open(len(left)).set_state(state)
        else:
            options = {key: values[self._rows] for key, values in self._options.items()}
            env.reset(options={**options, "reset_mask": ended})


class RealWorld:
    """Simulators, stepped one after the other, each brought to its start by replaying the recording."""

    def __init__(self, make: Callable[[], RealEnv]) -> None:
        self._make = make
        self._envs: list[RealEnv] = []
        self._frames: NDArray[np.uint8] = np.zeros((0, 0, 0, 3), np.uint8)

    def begin(self, starts: Sequence[RecordedStart], seeds: Sequence[int]) -> NDArray[np.uint8]:
        while len(self._envs) < len(starts):
            self._envs.append(self._make())
        self._frames = np.stack([replay(env, start) for env, start in zip(self._envs, starts, strict=False)])
        return self._frames.copy()

    def step(self, actions: Mapping[int, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
        rewards, ended = np.zeros(len(self._frames)), np.zeros(len(self._frames), np.bool_)
        for row, action in actions.items():
            self._frames[row], rewards[row], terminated, truncated, _ = self._envs[row].step(action)
            ended[row] = terminated or truncated
        return self._frames.copy(), rewards, ended

    def close(self) -> None:
        for env in self._envs:
            env.close()
        self._envs = []


def _seed(seed: int, start: RecordedStart) -> int:
    """Of the dream's own draws; depends on the start alone, not on the batch."""
    return int(np.random.SeedSequence([seed, start.episode, len(start.actions)]).generate_state(1)[0] >> 1)
