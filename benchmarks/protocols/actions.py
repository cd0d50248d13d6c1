"""The actions of set-ups that do not follow a recording."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

RT1_ACTIONS, GAME_ACTIONS = 13, 51
KEYS, WALKING_KEYS, BUTTONS = 11, 4, 2  # the keys begin with w, a, s, d
MOUSE_X, MOUSE_Y = 23, 15
HOLD = 10
"""Frames for which the long rollouts hold a key."""


def directions(size: int, step: float = 0.1) -> dict[str, Tensor]:
    """Six actions [a] of RT-1: the gripper moves by `step` along x, y or z; dimension 8 is 1 as in the recordings.

    Raises:
        ValueError: actions of another size than RT-1's 13.
    """
    if size != RT1_ACTIONS:
        raise ValueError(f"actions: the six directions are RT-1's, of {RT1_ACTIONS} numbers; the model takes {size}")
    actions = {}
    for dimension, axis in ((10, "X"), (11, "Y"), (12, "Z")):
        for sign, mark in ((1.0, "+"), (-1.0, "-")):
            action = torch.zeros(RT1_ACTIONS)
            action[8], action[dimension] = 1.0, sign * step
            actions[axis + mark] = action
    return actions


def held_keys(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """Actions [count 51]: one of w, a, s, d, drawn anew every ten frames (appendix D.6); the mouse rests."""
    keys = np.repeat(rng.integers(0, WALKING_KEYS, -(-count // HOLD)), HOLD)[:count]
    return _pressed(keys, size)


def random_keys(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """Actions [count 51]: no key or, half of the time, any one of them, drawn for every frame; the mouse rests."""
    keys = np.where(rng.random(count) < 0.5, rng.integers(0, KEYS, count), -1)
    return _pressed(keys, size)


def still(count: int, size: int) -> Tensor:
    """Actions [count 51] in which nothing is pressed or moved."""
    return _pressed(np.full(count, -1), size)


def _pressed(keys: np.ndarray, size: int) -> Tensor:
    """One key pressed at a time, -1 for none. Layout: keys, buttons, mouse to the side, mouse up and down."""
    if size != GAME_ACTIONS:
        raise ValueError(f"actions: keys are Counter-Strike's, of {GAME_ACTIONS} numbers; the model takes {size}")
    actions = torch.zeros(len(keys), GAME_ACTIONS)
    mouse = KEYS + BUTTONS
    actions[:, mouse + MOUSE_X // 2] = 1.0
    actions[:, mouse + MOUSE_X + MOUSE_Y // 2] = 1.0
    for row, key in enumerate(keys):
        if key >= 0:
            actions[row, key] = 1.0
    return actions
