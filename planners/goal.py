"""What goals have in common, whatever they are compared in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from planners.objective import Objective


class Goal(Objective):
    """An objective with one goal for all environments, or one for each.

    Attributes:
        goal: ``[1 ...]`` or ``[b ...]``.
    """

    goal: Tensor

    def select(self, rows: Sequence[int]) -> Goal:
        if len(self.goal) == 1:
            return self
        other: Any = object.__new__(type(self))
        other.__dict__.update(self.__dict__, goal=self.goal[list(rows)])
        return other

    def _per_candidate(self, b: int) -> Tensor:
        """Goals ``[1 1 1 ...]`` or ``[b 1 1 ...]``, to be compared with steps ``[b n h ...]``.

        Raises:
            ValueError: if there are neither one nor ``b``.
        """
        if len(self.goal) not in (1, b):
            raise ValueError(
                f"goal: expected one, or one per environment ({b}), got {len(self.goal)}; use select(rows)"
            )
        return self.goal[:, None, None]
