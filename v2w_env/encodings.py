"""Action spaces that are told to the network in another form than people use them in."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from gymnasium import spaces

CSGO_KEYS = ("w", "a", "s", "d", "space", "ctrl", "shift", "1", "2", "3", "r")
CSGO_BUTTONS = ("left_click", "right_click")
CSGO_MOUSE_X, CSGO_MOUSE_Y = 23, 15
CSGO_MOUSE_STILL = (11, 7)  # the classes of both axes that move nothing


class ActionEncoding(Protocol):
    """Between what callers pass and what the world model takes.

    Attributes:
        space: What callers see.
    """

    space: spaces.MultiDiscrete

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Valid actions ``[... *space.shape]`` as the model's own ``[... *spec.shape]``."""
        ...


class CSGOActions:
    """Counter-Strike's keyboard and mouse: ``MultiDiscrete`` of 11 keys, 2 buttons (0 or 1 each) and 2 mouse axes.

    The published model takes 51 zeros and ones: keys, buttons, and each mouse axis one-hot (23 and 15 speeds).
    """

    space = spaces.MultiDiscrete([2] * (len(CSGO_KEYS) + len(CSGO_BUTTONS)) + [CSGO_MOUSE_X, CSGO_MOUSE_Y])
    fields = (*CSGO_KEYS, *CSGO_BUTTONS, "mouse_x", "mouse_y")

    def encode(self, actions: np.ndarray) -> np.ndarray:
        pressed = actions[..., :-2].astype(np.int8)
        mouse_x = np.eye(CSGO_MOUSE_X, dtype=np.int8)[actions[..., -2]]
        mouse_y = np.eye(CSGO_MOUSE_Y, dtype=np.int8)[actions[..., -1]]
        return np.concatenate([pressed, mouse_x, mouse_y], axis=-1)

    def still(self) -> np.ndarray:
        """The action that presses nothing and moves nothing, ``[15]``."""
        action = np.zeros(self.space.shape, np.int64)
        action[-2:] = CSGO_MOUSE_STILL
        return action
