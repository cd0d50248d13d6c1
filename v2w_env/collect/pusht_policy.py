"""Scripted behaviour for recording PushT: a mix of pushers, wanderers and uniform random actions.

A world model only knows the motions it has seen. The mix therefore covers contact (pushers walk around the block and
push through it), free motion at many speeds (wanderers) and the jumpy targets that a fresh RL agent sends (uniform).
Planners that search for blocks of actions ask for more: agents that run into the block from anywhere at any speed. The
mix for planning is mostly that (gliders). Policies that have a goal for the block's angle lean on one place of it and
go along while it turns; the mix for turning is half of that (turners). Policies that explore leave what they do for a
dash to anywhere, through the block if it is in the way; the mix for dashing is half of that (dashers). Positions and
actions are in PushT's own units, pixels of a 512 x 512 arena; one step is 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

ARENA = 512.0
MARGIN = 24.0  # keeps the commanded targets of pushers off the walls
SAFE_LOW, SAFE_HIGH = 105.0, 407.0  # a block whose centre leaves this square is pushed back towards the middle
CENTRE_OF_MASS = np.array([0.0, 45.0])  # of the tee, in the frame of the block
ORBIT_RADIUS = 125.0  # clears every corner of the tee
BEHAVIOURS: dict[str, float] = {"push": 0.62, "wander": 0.22, "uniform": 0.16}
PLANNING: dict[str, float] = {"glide": 0.75, "push": 0.15, "wander": 0.06, "uniform": 0.04}
TURNING: dict[str, float] = {"turn": 0.55, "push": 0.25, "wander": 0.12, "uniform": 0.08}
DASHING: dict[str, float] = {"dash": 0.5, "turn": 0.2, "glide": 0.15, "push": 0.1, "uniform": 0.05}

Vector = NDArray[np.float64]
Info = dict[str, Any]
Policy = Callable[[Any, Info], Any]


def pusht_mix(env: gym.Env, rng: np.random.Generator) -> Policy:
    """Draw the behaviour of one PushT episode.

    Args:
        env: a `gym_pusht/PushT-v0` whose `info` holds `pos_agent` and `block_pose`.
        rng: source of every random choice of this episode.

    Returns:
        `policy(observation, info) -> action`, float32 of shape (2,) inside [0, 512].

    Raises:
        ValueError: if the action space of `env` is not PushT's.
    """
    return _drawn(env, rng, BEHAVIOURS)


def pusht_planning(env: gym.Env, rng: np.random.Generator) -> Policy:
    """The same, mostly of the sudden moves that a planner tries out; arguments and errors as of :func:`pusht_mix`."""
    return _drawn(env, rng, PLANNING)


def pusht_turning(env: gym.Env, rng: np.random.Generator) -> Policy:
    """The same, half of it long slow turns of the block; arguments and errors as of :func:`pusht_mix`."""
    return _drawn(env, rng, TURNING)


def pusht_dashing(env: gym.Env, rng: np.random.Generator) -> Policy:
    """The same, half of it turns and pushes that a dash to anywhere interrupts; arguments and errors as above."""
    return _drawn(env, rng, DASHING)


def _drawn(env: gym.Env, rng: np.random.Generator, behaviours: dict[str, float]) -> Policy:
    space = env.action_space
    if not isinstance(space, gym.spaces.Box) or space.shape != (2,):
        raise ValueError(
            f"policy: PushT's mixes expect PushT's action space Box(0, 512, (2,)), got {space}; use 'random'"
        )
    name = str(rng.choice(list(behaviours), p=list(behaviours.values())))
    act = _KINDS[name](rng)
    noise = 0.0 if name in ("uniform", "glide") else float(rng.choice([0.0, 3.0, 12.0]))

    def policy(observation: Any, info: Info) -> NDArray[np.float32]:
        agent = np.asarray(info["pos_agent"], dtype=np.float64)
        x, y, angle = (float(value) for value in info["block_pose"])
        block = np.array([x, y]) + _rotate(CENTRE_OF_MASS, angle)
        target = act(agent, block, angle) + rng.normal(0.0, 1.0, 2) * noise
        return np.clip(target, 0.0, ARENA).astype(np.float32)

    return policy


class Pusher:
    """Walks around to a side of the block, pushes through it, backs off, and starts again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.walk_speed = rng.uniform(18.0, 60.0)  # px per step
        self.phase = "plan"
        self.patience = 0
        self.push_speed = 0.0
        self.push_left = 0.0
        self.direction = np.zeros(2)
        self.offset = 0.0

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.phase == "plan":
            self._plan(block)
        if self.phase == "approach":
            return self._approach(agent, block)
        if self.phase == "push":
            return self._push(agent, block)
        self.patience -= 1
        if self.patience <= 0:
            self.phase = "plan"
        return agent - self.direction * self.walk_speed  # back off, so that the next walk starts clear of the block

    def _plan(self, block: Vector) -> None:
        centre = np.full(2, ARENA / 2)
        outside = np.any(block < SAFE_LOW) or np.any(block > SAFE_HIGH)
        if outside or self.rng.random() < 0.3:  # 256, 256 is also where the goal lies
            heading = np.arctan2(*(centre - block)[::-1]) + self.rng.normal(0.0, 0.35)
        else:
            heading = self.rng.uniform(-np.pi, np.pi)
        self.direction = np.array([np.cos(heading), np.sin(heading)])
        self.offset = self.rng.uniform(-58.0, 58.0)  # off-centre pushes turn the block
        self.push_speed = self.rng.uniform(7.0, 38.0)
        self.push_left = self.rng.uniform(110.0, 300.0)  # includes the way to the block
        self.patience = 30
        self.phase = "approach"

    def _approach(self, agent: Vector, block: Vector) -> Vector:
        self.patience -= 1
        side = np.array([-self.direction[1], self.direction[0]])
        start = np.clip(block - self.direction * ORBIT_RADIUS + side * self.offset, MARGIN, ARENA - MARGIN)
        if np.linalg.norm(start - agent) < 22.0 or self.patience <= 0:
            self.phase = "push"
            return self._push(agent, block)
        relative = agent - block
        here = np.arctan2(relative[1], relative[0])
        there = np.arctan2(*(start - block)[::-1])
        turn = (there - here + np.pi) % (2 * np.pi) - np.pi
        if np.linalg.norm(relative) < ORBIT_RADIUS + 50.0 and abs(turn) > 0.7:
            bearing = here + np.clip(turn, -0.6, 0.6)
            start = block + ORBIT_RADIUS * np.array([np.cos(bearing), np.sin(bearing)])
        return _towards(agent, np.clip(start, MARGIN, ARENA - MARGIN), self.walk_speed)

    def _push(self, agent: Vector, block: Vector) -> Vector:
        self.push_left -= self.push_speed
        outward = ((block < SAFE_LOW) & (self.direction < -0.2)) | ((block > SAFE_HIGH) & (self.direction > 0.2))
        if self.push_left <= 0 or bool(np.any(outward)):
            self.phase, self.patience = "retreat", int(self.rng.integers(1, 5))
        # The arm trails its target by two steps at constant speed, so the target leads by as much.
        return np.clip(agent + self.direction * self.push_speed * 2.0, MARGIN, ARENA - MARGIN)


class Turner(Pusher):
    """A pusher that stays at one place of the block and goes along as it turns, mostly slowly."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.inward = np.zeros(2)  # the direction it pushes in, in the frame of the block

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.phase == "plan":
            self._plan(block)
            self.inward = _rotate(self.direction, -angle)
            self.push_speed = self.rng.uniform(4.0, 22.0)
        if self.phase in ("approach", "push"):
            self.direction = _rotate(self.inward, angle)
        return super().__call__(agent, block, angle)

    def _push(self, agent: Vector, block: Vector) -> Vector:
        side = np.array([-self.direction[1], self.direction[0]])
        astray = self.offset - (agent - block) @ side
        return np.clip(super()._push(agent, block) + side * astray, MARGIN, ARENA - MARGIN)


class Dasher:
    """A turner or pusher that leaves it now and then for a dash to a random place, some steps long."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.calm: Pusher = Turner(rng) if rng.random() < 0.6 else Pusher(rng)
        self.share = rng.uniform(0.1, 0.7)  # of the time
        self.hold = int(rng.integers(3, 8))  # steps to a dash, and between chances of one
        self.step = 0
        self.place: Vector | None = None

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.step % self.hold == 0:
            self.place = self.rng.uniform(0.0, ARENA, 2) if self.rng.random() < self.share else None
        self.step += 1
        return self.calm(agent, block, angle) if self.place is None else self.place


class Wanderer:
    """Follows a target that glides between waypoints, half of them near the block, or drifts as a random walk."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.speed = rng.uniform(4.0, 50.0)
        self.drifting = rng.random() < 0.4
        self.target: Vector | None = None
        self.waypoint = np.zeros(2)
        self.velocity = np.zeros(2)

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.target is None:
            self.target = agent.copy()
            self.waypoint = self._draw(block)
        if self.drifting:
            pull = 0.02 * (block - self.target)  # without it the walk would hardly ever meet the block
            self.velocity = 0.85 * self.velocity + self.rng.normal(0.0, 0.35 * self.speed, 2) + pull
            self.target = np.clip(self.target + self.velocity, 5.0, ARENA - 5.0)
            return self.target
        self.target = _towards(self.target, self.waypoint, self.speed / 2.0)
        if np.linalg.norm(self.waypoint - self.target) < 1.0:
            self.waypoint = self._draw(block)
        return self.target

    def _draw(self, block: Vector) -> Vector:
        if self.rng.random() < 0.5:
            return np.clip(block + self.rng.normal(0.0, 60.0, 2), MARGIN, ARENA - MARGIN)
        return self.rng.uniform(10.0, ARENA - 10.0, 2)


class UniformHold:
    """Uniform samples of the action space, each held for 1 to `max_hold` steps, as a fresh RL agent sends them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.max_hold = int(rng.integers(1, 6))
        self.left = 0
        self.target = np.zeros(2)

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.left <= 0:
            self.target = self.rng.uniform(0.0, ARENA, 2)
            self.left = int(self.rng.integers(1, self.max_hold + 1))
        self.left -= 1
        return self.target


class Glider:
    """Glides from waypoint to waypoint in a few steps each, however far that is, often right into the block."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.pace = int(rng.choice([5, 5, 5, 3, 8]))  # steps from one waypoint to the next
        self.spread = rng.uniform(25.0, 170.0)
        self.contact = rng.uniform(0.3, 0.8)  # share of the waypoints that lie in or by the block
        self.before = self.waypoint = np.zeros(2)
        self.step = 0

    def __call__(self, agent: Vector, block: Vector, angle: float) -> Vector:
        if self.step % self.pace == 0:
            self.before = agent.copy() if self.step == 0 else self.waypoint
            if self.rng.random() < self.contact:
                drawn = block + self.rng.normal(0.0, 45.0, 2)
            else:
                drawn = self.before + self.rng.normal(0.0, self.spread, 2)
            self.waypoint = np.clip(drawn, 0.0, ARENA)
        share = (self.step % self.pace + 1) / self.pace
        self.step += 1
        return self.before + share * (self.waypoint - self.before)


_KINDS: dict[str, Callable[[np.random.Generator], Callable[[Vector, Vector, float], Vector]]] = {
    "push": Pusher,
    "wander": Wanderer,
    "uniform": UniformHold,
    "glide": Glider,
    "turn": Turner,
    "dash": Dasher,
}


def _towards(position: Vector, goal: Vector, speed: float) -> Vector:
    """The point at most two steps of `speed` from `position` on the way to `goal`."""
    way = goal - position
    distance = float(np.linalg.norm(way))
    return goal if distance <= 2.0 * speed else position + way * (2.0 * speed / distance)


def _rotate(vector: Vector, angle: float) -> Vector:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
