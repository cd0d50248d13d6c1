"""Policies of graded skill by name: what the policy evaluation runs unless told otherwise.

Each is a maker of one episode's behaviour, `(rng, frame) -> action`, behind the `Policy` protocol of `agents`. Every
start has a random stream of its own, the same in both worlds, so that dream and simulator are asked the same question.
In worlds of action blocks PushT's policies see every so many steps only, and foresee what they cannot see.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.policy_coverage import GOAL_POSE
from benchmarks.policy_pusht import Arm, Eyes, Goal, GoalPusher, Sight
from v2w_env.collect.doom_policy import Dodge, Jitter, Sweep
from v2w_env.collect.pusht_block import ARENA
from world_model.types import ActionSpec

Frame = NDArray[np.uint8]
Behaviour = Callable[[Frame], Any]
Maker = Callable[[np.random.Generator], Behaviour]

NOISE_HOLD = 5  # steps for which noise stands in for the skilled policy


class ScriptedPolicy:
    """The `Policy` protocol over behaviours of single episodes; row `i` has the stream `(seed, i)`.

    Where `spec` is a block of actions, `behaviour.block(frame, length)` gives them, [length *shape].
    """

    def __init__(self, make: Maker, spec: ActionSpec, seed: int = 0) -> None:
        self._make, self._spec, self._seed = make, spec, seed
        self._behaviours: dict[int, Behaviour] = {}

    def reset(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._behaviours[row] = self._make(np.random.default_rng([self._seed, row]))

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        chosen = [self._choose(self._behaviours[row], frame) for row, frame in zip(rows, frames, strict=True)]
        actions = np.stack(chosen)
        if self._spec.kind == "box":
            actions = np.clip(actions, 0.0, ARENA)
        return actions.astype(self._spec.dtype)

    def _choose(self, behaviour: Any, frame: Frame) -> Any:
        return behaviour.block(frame, self._spec.shape[0]) if len(self._spec.shape) == 2 else behaviour(frame)


class PushBehaviour:
    """One episode of a pusher, spoilt in one way or another.

    Args:
        rng: of the episode.
        goal: where it wants the block.
        noise: share of the time in which it goes to random places instead, five steps at a time.
        delay: steps that it stays where it is first.
        speed: while pushing, in the simulator's units per step; it walks three times as fast.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        goal: Goal | None = None,
        noise: float = 0.0,
        delay: int = 0,
        speed: float = 14.0,
    ) -> None:
        self._rng, self._noise, self._delay = rng, noise, delay
        self._eyes, self._pusher, self._arm = Eyes(), GoalPusher(goal, speed, 3.0 * speed), Arm()
        self._steps, self._astray = 0, False
        self._place: NDArray[np.float64] = np.zeros(2)

    def __call__(self, frame: Frame) -> NDArray[np.float64]:
        return self._target(self._eyes(frame))

    def block(self, frame: Frame, length: int) -> NDArray[np.float64]:
        """Targets of the next `length` steps, [length 2], all from this frame and what it expects to come of them."""
        sight, targets = self._eyes(frame), []
        for _ in range(length):
            targets.append(self._target(sight))
            sight = self._pusher.foresee(sight, self._arm.follow(sight.agent, targets[-1]))
        return np.stack(targets)

    def _target(self, sight: Sight) -> NDArray[np.float64]:
        self._steps += 1
        if self._steps <= self._delay:
            if self._steps == 1:
                self._place = sight.agent
            return self._place
        if (self._steps - 1) % NOISE_HOLD == 0:
            self._astray = bool(self._rng.random() < self._noise)
            self._place = self._rng.uniform(0.0, ARENA, 2)
        return self._place if self._astray else self._pusher(sight)


class Hold:
    """Stays where the agent is at first."""

    def __init__(self) -> None:
        self._place: NDArray[np.float64] | None = None

    def __call__(self, frame: Frame) -> NDArray[np.float64]:
        if self._place is None:
            self._place = Eyes()(frame).agent
        return self._place

    def block(self, frame: Frame, length: int) -> NDArray[np.float64]:
        return np.tile(self(frame), (length, 1))


def _corner(rng: np.random.Generator) -> Behaviour:
    return PushBehaviour(rng, Goal(130.0, 130.0))


def _upside_down(rng: np.random.Generator) -> Behaviour:
    return PushBehaviour(rng, Goal(angle=GOAL_POSE[2] + np.pi))


def _noisy(noise: float) -> Maker:
    return lambda rng: PushBehaviour(rng, noise=noise)


def _late(steps: int) -> Maker:
    return lambda rng: PushBehaviour(rng, delay=steps)


def _slow(speed: float) -> Maker:
    return lambda rng: PushBehaviour(rng, speed=speed)


def _doom_noisy(make: Maker, noise: float) -> Maker:
    def maker(rng: np.random.Generator) -> Behaviour:
        act = make(rng)
        return lambda frame: int(rng.integers(3)) if rng.random() < noise else act(frame)

    return maker


PUSHT: Mapping[str, Maker] = {
    "pusher": _noisy(0.0),
    "noise_20": _noisy(0.2),
    "noise_40": _noisy(0.4),
    "noise_60": _noisy(0.6),
    "noise_80": _noisy(0.8),
    "late_20": _late(20),
    "late_40": _late(40),
    "late_60": _late(60),
    "slow": _slow(9.0),
    "slower": _slow(6.0),
    "no_turning": lambda rng: PushBehaviour(rng, Goal(turns=False)),
    "upside_down": _upside_down,
    "corner": _corner,
    "hold": lambda rng: Hold(),
}
"""From the best down to those that cannot succeed; `random` is the zero-skill policy and comes from `agents`."""

TAKE_COVER: Mapping[str, Maker] = {
    "stand": lambda rng: lambda frame: 0,
    "one_side": lambda rng: lambda frame: 1,
    "jitter": Jitter,
    "sweep": Sweep,
    "sweep_noise_20": _doom_noisy(Sweep, 0.2),
    "sweep_noise_50": _doom_noisy(Sweep, 0.5),
    "dodge": Dodge,
    "dodge_noise_10": _doom_noisy(Dodge, 0.1),
    "dodge_noise_25": _doom_noisy(Dodge, 0.25),
    "dodge_noise_50": _doom_noisy(Dodge, 0.5),
    "dodge_noise_75": _doom_noisy(Dodge, 0.75),
}
"""Checkpoints of agents trained on the way to the best are added by their files' names."""


def scripted(name: str, make: Maker, spec: ActionSpec, seed: int) -> ScriptedPolicy:
    """The policy `name`; policies with different names draw differently.

    Raises:
        ValueError: the world takes other actions than the behaviour gives.
    """
    shape, kind = ((2,), "box") if make in PUSHT.values() else ((), "discrete")
    fits = spec.shape == shape or (kind == "box" and len(spec.shape) == 2 and spec.shape[1:] == shape)
    if not fits or spec.kind != kind:
        raise ValueError(
            f"policy {name!r}: expected actions {kind} of shape {shape}, the world model takes {spec.kind} {spec.shape}"
        )
    return ScriptedPolicy(make, spec, seed + zlib.crc32(name.encode()))
