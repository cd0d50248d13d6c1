"""Scripted behaviour for recording Doom: Take Cover: jitter, sweeps along the wall, a dodger that looks, and hiding.

A world model only knows what it has seen. Random actions die within 70 actions, with few imps about: they show the
beginning of the game, and little of its dodging. Sweeps along the room live three times as long, and the dodger shows
fireballs that pass close by. None of them stays at an end of the room, so a model of theirs alone has to guess what
happens there; `doom_ends` has some who do. Every episode draws one behaviour, its pace and its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from v2w_env.collect.take_cover import LEFT, RIGHT, STAND

BEHAVIOURS: dict[str, float] = {"jitter": 0.4, "sweep": 0.35, "dodge": 0.25}
ENDS: dict[str, float] = {"jitter": 0.3, "sweep": 0.25, "dodge": 0.2, "hide": 0.25}

HORIZON_ROW = 34  # of 64: imps stand above it; what is bright below it is a fireball on its way
MIN_PIXELS = 4

Frame = NDArray[np.uint8]
Policy = Callable[[Any, dict[str, Any]], Any]


def doom_mix(env: gym.Env, rng: np.random.Generator) -> Policy:
    """Draw the behaviour of one episode of Take Cover: jitter, sweeps, or a dodger.

    Args:
        env: `v2w_env:DoomTakeCover-v0`, whose observation is a frame, uint8 [64 64 3].
        rng: source of every random choice of this episode.

    Returns:
        `policy(observation, info) -> action`: 0 (stand), 1 (right) or 2 (left).

    Raises:
        ValueError: if the action space of `env` is not Take Cover's.
    """
    return _drawn(env, rng, BEHAVIOURS)


def doom_ends(env: gym.Env, rng: np.random.Generator) -> Policy:
    """As `doom_mix`, but a quarter of the players hide at the ends of the room."""
    return _drawn(env, rng, ENDS)


def _drawn(env: gym.Env, rng: np.random.Generator, behaviours: dict[str, float]) -> Policy:
    space = env.action_space
    if not isinstance(space, gym.spaces.Discrete) or int(space.n) != 3:
        raise ValueError(f"policy: Take Cover's expect its action space Discrete(3), got {space}; use 'random'")
    act: Callable[[Frame], int] = _BEHAVIOURS[str(rng.choice(list(behaviours), p=list(behaviours.values())))](rng)
    noise = float(rng.choice([0.0, 0.05, 0.2]))

    def policy(observation: Any, info: dict[str, Any]) -> np.int64:
        action = act(np.asarray(observation))
        return np.int64(rng.integers(3) if rng.random() < noise else action)

    return policy


class Jitter:
    """Random actions, each held for 1 to `max_hold` steps, as a fresh agent or a sampling planner sends them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.max_hold = int(rng.choice([1, 1, 3, 8, 20]))
        self.left = 0
        self.action = STAND

    def __call__(self, frame: Frame) -> int:
        if self.left <= 0:
            self.action = int(self.rng.integers(3))
            self.left = int(self.rng.integers(1, self.max_hold + 1))
        self.left -= 1
        return self.action


class Sweep:
    """To and fro, turning round every `pace` to 1.7 `pace` steps; long paces reach from wall to wall."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.pace = int(rng.integers(4, 22))
        self.action = int(rng.choice([LEFT, RIGHT]))
        self.left = self._draw()

    def __call__(self, frame: Frame) -> int:
        if self.left <= 0:
            self.turn()
        self.left -= 1
        return self.action

    def turn(self) -> None:
        """Go the other way."""
        self.action = LEFT if self.action == RIGHT else RIGHT
        self.left = self._draw()

    def _draw(self) -> int:
        return int(self.rng.integers(self.pace, int(1.7 * self.pace) + 2))


class Dodge:
    """Sweeps, but steps away from the largest fireball nearby, to the side on which it is not."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.sweep = Sweep(rng)
        self.reach = float(rng.uniform(8.0, 26.0))  # columns to either side of the middle that are watched
        self.near_row = int(rng.integers(36, 44))  # a fireball has come close once its lower edge is below this row
        self.committed = 0

    def __call__(self, frame: Frame) -> int:
        if self.committed > 0:
            self.committed -= 1
            return self.sweep(frame)
        close = [ball for ball in fireballs(frame) if ball.lowest >= self.near_row and abs(ball.bearing) <= self.reach]
        if close:
            away = LEFT if max(close, key=lambda ball: ball.pixels).bearing > 0 else RIGHT
            if self.sweep.action != away:
                self.sweep.turn()
                self.committed = 1
        return self.sweep(frame)


class Hide:
    """Goes to one end of the room and stays there, pressing on or standing, then to another place, to stay as well."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.side = int(rng.choice([LEFT, RIGHT]))
        self.walk = int(rng.integers(20, 60))  # the first way is from the middle of the room
        self.stay = int(rng.integers(10, 80))

    def __call__(self, frame: Frame) -> int:
        if self.walk > 0:
            self.walk -= 1
            return self.side
        if self.stay > 0:
            self.stay -= 1
            return STAND
        self.side = LEFT if self.side == RIGHT else RIGHT
        self.walk, self.stay = int(self.rng.integers(10, 80)), int(self.rng.integers(0, 60))
        return self(frame)


class Fireball:
    """A bright group of columns: how many pixels, columns right of the middle, and its lowest row."""

    def __init__(self, pixels: int, bearing: float, lowest: int) -> None:
        self.pixels = pixels
        self.bearing = bearing
        self.lowest = lowest


def fireballs(frame: Frame) -> list[Fireball]:
    """The fireballs in `frame` (uint8 [64 64 3]), each a run of neighbouring columns with bright yellow or white."""
    low = frame[HORIZON_ROW:].astype(np.int16)
    red, green, blue = low[..., 0], low[..., 1], low[..., 2]
    bright = (red > 170) & (green > 130) & ((red - blue > 20) | (blue > 200))
    columns = np.flatnonzero(bright.any(axis=0))
    found = []
    for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
        part = bright[:, run]
        if part.sum() >= MIN_PIXELS:
            lowest = HORIZON_ROW + int(np.flatnonzero(part.any(axis=1))[-1])
            found.append(Fireball(int(part.sum()), float(run.mean()) - 31.5, lowest))
    return found


_BEHAVIOURS: dict[str, Callable[[np.random.Generator], Callable[[Frame], int]]] = {
    "jitter": Jitter,
    "sweep": Sweep,
    "dodge": Dodge,
    "hide": Hide,
}
