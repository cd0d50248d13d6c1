"""The numbers a search works with, and the actions they stand for."""

from __future__ import annotations

import math
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from world_model.types import ActionSpec

Bound: TypeAlias = float | tuple[float, ...] | None


class SearchSpace(Protocol):
    """Attributes:
    columns: length ``a`` of an action.
    """

    columns: int

    def to_actions(self, points: Tensor) -> Tensor:
        """Points ``[... a]`` of the search as actions that the world model takes, inside their bounds."""
        ...

    def from_actions(self, actions: Tensor) -> Tensor:
        """The other way round."""
        ...

    def uniform(self, chance: Tensor) -> Tensor:
        """Points drawn evenly, from numbers ``[... a]`` in [0, 1)."""
        ...


class BoxSpace:
    """Bounded continuous actions as points in [-1, 1]; points outside stand for the bound.

    Args:
        low, high: narrow the search: a number for all columns, one per column, or ``None`` for the space's own.

    Raises:
        ValueError: another kind of space, a bound missing, or bounds outside the space or in the wrong order.
    """

    def __init__(self, spec: ActionSpec, low: Bound = None, high: Bound = None) -> None:
        if spec.kind != "box":
            raise ValueError(
                f"action space: expected a continuous one (Box), got {spec.kind}; use CategoricalCEM or RandomShooting"
            )
        self.columns = spec.size
        self.low, self.high = _bound("action_low", spec.low, low), _bound("action_high", spec.high, high)
        for name, bound, own in (("action_low", self.low, spec.low), ("action_high", self.high, spec.high)):
            if not bool(bound.isfinite().all()):
                raise ValueError(
                    f"{name}: the action space is unbounded, so the planner has to be told; got {low, high}"
                )
            outside = bound < torch.tensor(own) if name == "action_low" else bound > torch.tensor(own)
            if bool(outside.any()):
                raise ValueError(f"{name}: expected bounds within the action space's {own}, got {bound.tolist()}")
        if not bool((self.low < self.high).all()):
            raise ValueError(
                f"action_low, action_high: expected low < high, got {self.low.tolist()} and {self.high.tolist()}"
            )

    def to_actions(self, points: Tensor) -> Tensor:
        low, high = self.low.to(points), self.high.to(points)
        # The last clamp is for rounding: half a range away from the middle may lie just outside.
        return ((low + high) / 2 + points.clamp(-1, 1) * (high - low) / 2).clamp(low, high)

    def from_actions(self, actions: Tensor) -> Tensor:
        low, high = self.low.to(actions), self.high.to(actions)
        return ((actions - (low + high) / 2) / ((high - low) / 2)).clamp(-1, 1)

    def uniform(self, chance: Tensor) -> Tensor:
        return 2 * chance - 1


class CategorySpace:
    """Discrete, multi-discrete and multi-binary actions as the indices of their values.

    Attributes:
        sizes: how many values each column has.

    Raises:
        ValueError: a continuous space.
    """

    def __init__(self, spec: ActionSpec) -> None:
        if spec.kind == "box":
            raise ValueError("action space: expected a discrete one, got a Box; use CEM, ICEM, MPPI or GradientPlanner")
        self.sizes = (2,) * spec.size if spec.kind == "multi_binary" else spec.nvec
        self.columns = spec.size
        self._dtype = torch.int64 if spec.is_integer else torch.float32

    def to_actions(self, points: Tensor) -> Tensor:
        return points.to(self._dtype)

    def from_actions(self, actions: Tensor) -> Tensor:
        return actions.to(torch.int64)

    def uniform(self, chance: Tensor) -> Tensor:
        sizes = torch.tensor(self.sizes)
        return (chance * sizes).long().clamp(max=sizes - 1)


def _bound(name: str, own: tuple[float, ...], given: Bound) -> Tensor:
    if given is None:
        return torch.tensor(own, dtype=torch.float32)
    values = (float(given),) * len(own) if isinstance(given, int | float) else tuple(given)
    if len(values) != len(own) or any(math.isnan(value) for value in values):
        raise ValueError(f"{name}: expected a number or one per action column ({len(own)}), got {given}")
    return torch.tensor(values, dtype=torch.float32)
