"""A scripted PushT policy that sees frames only: it reads where agent and block are and pushes the block to the goal.

It is greedy: of some places along the tee's outline it takes the one where a push moves the block fastest towards the
goal's position and angle, walks round the block to it, and pushes until that no longer helps. Because it needs nothing
but frames, it acts in the real simulator and in a dream alike. Positions are in the simulator's units, 512 to a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.policy_coverage import GOAL_POSE, block_angle, scaled
from benchmarks.pusht_tracking import track
from v2w_env.collect.pusht_block import ARENA, CENTROID, object_shares, rotation

Vector = NDArray[np.float64]
Frame = NDArray[np.uint8]

AGENT_RADIUS = 15.0
ORBIT = 118.0  # from the block's centroid; clears every corner of the tee
MARGIN = 20.0
TURN_RADIUS = 55.0  # length by which angles are weighed against distances
PATIENCE = 30  # steps for one place along the outline

# Places along the outline in the frame of the tee, and the directions to push in there.
_PLACES = np.array(
    [(-45, 0), (-25, 0), (0, 0), (25, 0), (45, 0), (-60, 15), (60, 15), (-40, 30), (40, 30)]
    + [(side, y) for side in (-15, 15) for y in (60, 80, 105)]
    + [(0, 120)],
    np.float64,
)
_INWARD = np.array(
    [(0, 1)] * 5 + [(1, 0), (-1, 0), (0, -1), (0, -1)] + [(1, 0)] * 3 + [(-1, 0)] * 3 + [(0, -1)], np.float64
)


@dataclass(frozen=True)
class Goal:
    """Where a pusher wants the block: `x`, `y` and `angle` of the tee, and whether the angle matters to it."""

    x: float = GOAL_POSE[0]
    y: float = GOAL_POSE[1]
    angle: float = GOAL_POSE[2]
    turns: bool = True

    @property
    def centroid(self) -> Vector:
        return np.array([self.x, self.y]) + rotation(self.angle) @ CENTROID


@dataclass(frozen=True, eq=False)
class Sight:
    """What a frame shows: agent [2], the block's centroid [2], and its angle."""

    agent: Vector
    block: Vector
    angle: float


class Eyes:
    """Reads frames; what is hidden or lost stays where it was last seen."""

    def __init__(self) -> None:
        self._last = Sight(np.full(2, ARENA / 2), np.full(2, ARENA / 2), 0.0)

    def __call__(self, frame: Frame) -> Sight:
        """Of a frame uint8 [h w 3]."""
        seen = track(frame)
        agent, block, angle = scaled(seen.agent), scaled(seen.block), self._last.angle
        if np.isnan(agent).any():
            agent = self._last.agent
        if np.isnan(block).any():
            block = self._last.block
        else:
            angle = block_angle(object_shares(frame)[1], block)
        self._last = Sight(agent, block, angle)
        return self._last


class Arm:
    """The agent on its way to a target, as the simulator moves it: a damped spring, ten small steps to a step."""

    STIFFNESS, DAMPING, SUBSTEPS, SECONDS = 100.0, 20.0, 10, 0.01

    def __init__(self) -> None:
        self._velocity: Vector = np.zeros(2)

    def follow(self, place: Vector, target: Vector) -> Vector:
        """Where it is one step later, [2], if nothing is in its way; remembers how fast it moves."""
        for _ in range(self.SUBSTEPS):
            push = self.STIFFNESS * (target - place) - self.DAMPING * self._velocity
            self._velocity = self._velocity + push * self.SECONDS
            place = place + self._velocity * self.SECONDS
        return place


class GoalPusher:
    """Pushes the block towards `goal`; `speed` is what it moves by in a step while pushing."""

    def __init__(self, goal: Goal | None = None, speed: float = 14.0, walk_speed: float = 40.0) -> None:
        self.goal, self.speed, self.walk_speed = goal or Goal(), speed, walk_speed
        self._place: int | None = None
        self._pushing = False
        self._left = 0

    def __call__(self, sight: Sight) -> Vector:
        """Target of the agent, [2]."""
        gains = self._gains(sight)
        if self._place is None or self._left <= 0 or gains[self._place] <= 0.15 * gains.max():
            self._choose(sight, gains)
        if self._at_goal(sight):
            return sight.agent
        assert self._place is not None
        self._left -= 1
        turn = rotation(sight.angle)
        inward = turn @ _INWARD[self._place]
        touch = sight.block + turn @ (_PLACES[self._place] - CENTROID) - inward * AGENT_RADIUS
        ready = touch - inward * 14.0
        if self._pushing:
            ahead = sight.agent - touch
            sideways = ahead - inward * (ahead @ inward)
            if np.linalg.norm(sideways) > 30.0 or ahead @ inward < -45.0:
                self._pushing = False
        elif np.linalg.norm(ready - sight.agent) < 14.0:
            self._pushing = True
        if self._pushing:
            ahead = sight.agent - touch
            sideways = ahead - inward * (ahead @ inward)
            near = min(1.0, 0.35 + self._distance(sight) / 60.0)  # the last bit gently, it would slide past the goal
            return _inside(sight.agent + inward * self.speed * 2.0 * near - sideways)
        return self._walk(sight, ready)

    def foresee(self, sight: Sight, agent: Vector) -> Sight:
        """What it expects to see once the agent is there: a block that it pushes against goes along, unturned."""
        block = sight.block
        if self._pushing and self._place is not None:
            turn = rotation(sight.angle)
            inward = turn @ _INWARD[self._place]
            touch = block + turn @ (_PLACES[self._place] - CENTROID) - inward * AGENT_RADIUS
            block = block + inward * max(0.0, float((agent - touch) @ inward))
        return Sight(agent, block, sight.angle)

    def _gains(self, sight: Sight) -> Vector:
        """How much a unit push at each place brings the block towards the goal, [places]."""
        turn = rotation(sight.angle)
        inward, lever = _INWARD @ turn.T, (_PLACES - CENTROID) @ turn.T
        torque = lever[:, 0] * inward[:, 1] - lever[:, 1] * inward[:, 0]
        way = self.goal.centroid - sight.block
        gains = inward @ way
        if self.goal.turns:
            gains = gains + torque / TURN_RADIUS * (TURN_RADIUS * self._angle_left(sight))
        return gains

    def _choose(self, sight: Sight, gains: Vector) -> None:
        turn = rotation(sight.angle)
        inward = _INWARD @ turn.T
        ready = sight.block + (_PLACES - CENTROID) @ turn.T - inward * (AGENT_RADIUS + 14.0)
        reachable = ((ready > MARGIN) & (ready < ARENA - MARGIN)).all(axis=1)
        near = 1.0 - np.linalg.norm(ready - sight.agent, axis=1) / 900.0  # walking costs steps
        self._place = (
            int(np.where(reachable, gains * near, -np.inf).argmax()) if reachable.any() else int(gains.argmax())
        )
        self._pushing, self._left = False, PATIENCE

    def _walk(self, sight: Sight, ready: Vector) -> Vector:
        """Round the block to `ready`."""
        relative, there = sight.agent - sight.block, ready - sight.block
        here_angle, there_angle = np.arctan2(relative[1], relative[0]), np.arctan2(there[1], there[0])
        turn = _wrapped(there_angle - here_angle)
        if abs(turn) > 0.45 and np.linalg.norm(relative) < ORBIT + 40.0:
            bearing = here_angle + np.clip(turn, -0.6, 0.6)
            ready = sight.block + ORBIT * np.array([np.cos(bearing), np.sin(bearing)])
        way = _inside(ready) - sight.agent
        distance = float(np.linalg.norm(way))
        return sight.agent + way * min(1.0, 2.0 * self.walk_speed / max(distance, 1e-6))

    def _angle_left(self, sight: Sight) -> float:
        return _wrapped(self.goal.angle - sight.angle)

    def _distance(self, sight: Sight) -> float:
        turned = TURN_RADIUS * abs(self._angle_left(sight)) if self.goal.turns else 0.0
        return float(np.linalg.norm(self.goal.centroid - sight.block)) + turned

    def _at_goal(self, sight: Sight) -> bool:
        return self._distance(sight) < 8.0


def _inside(target: Vector) -> Vector:
    return np.clip(target, MARGIN, ARENA - MARGIN)


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
