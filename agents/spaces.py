"""Between the world's action space and the one an agent is given: counted from zero, or scaled to [-1, 1]."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from v2w_env.config import ActionRange
from v2w_env.spaces import ActionAdapter, space_from_spec
from world_model.types import ActionSpec

Offset: TypeAlias = np.ndarray | Literal[0]


def zero_based(space: gym.Space[Any]) -> tuple[gym.Space[Any], Offset]:
    """The space that Stable-Baselines3 can count in, and what to add to its actions.

    SB3 takes every discrete action to start at 0; all other spaces stay as they are.
    """
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return spaces.Discrete(space.n), np.asarray(space.start, np.int64)
    if isinstance(space, spaces.MultiDiscrete) and np.any(space.start):
        return spaces.MultiDiscrete(space.nvec), np.asarray(space.start, np.int64)
    return space, 0


def in_bounds(space: gym.Space[Any], actions: np.ndarray) -> np.ndarray:
    """Box actions clipped to their bounds, which an agent's arithmetic may miss by rounding; NaN stays NaN."""
    return np.clip(actions, space.low, space.high) if isinstance(space, spaces.Box) else actions


def best_range(spec: ActionSpec) -> ActionRange:
    """The range to act in: [-1, 1] for a bounded Box, since agents explore with noise of about unit size."""
    native = space_from_spec(spec)
    return "normalized" if isinstance(native, spaces.Box) and native.is_bounded("both") else "native"


class AgentActions:
    """Turns an agent's actions into the simulator's units, whichever of the spaces above the agent was trained with.

    Args:
        space: The agent's own action space.
        spec: The world model's.

    Raises:
        ValueError: The agent acts in another space.
    """

    def __init__(self, space: gym.Space[Any], spec: ActionSpec) -> None:
        native, offset = zero_based(space_from_spec(spec))
        if space == native:
            self._range: ActionRange = "native"
        elif best_range(spec) == "normalized" and space == ActionAdapter(spec, "normalized").space:
            self._range = "normalized"
        else:
            raise ValueError(f"agent: expected one that acts in {native}, the world model's actions, got {space}")
        self._space, self._offset, self._adapter = space, offset, ActionAdapter(spec, self._range)

    def to_native(self, actions: np.ndarray) -> np.ndarray:
        """Actions ``[n *shape]`` in the agent's space -> ``[n *shape]`` in the simulator's units, checked."""
        return self._adapter.check(in_bounds(self._space, actions) + self._offset, (len(actions),))
