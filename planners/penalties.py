"""Costs of the actions themselves, and of what must not happen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from planners.objective import Objective, Outcome


class ActionSize(Objective):
    """Mean squared action, in halves of its range from the middle of it; only for bounded continuous actions."""

    def per_step(self, outcome: Outcome) -> Tensor:
        return _unit(outcome, outcome.actions).square().mean(-1)


class ActionChange(Objective):
    """Mean squared difference from the action before: in halves of the range for continuous actions, the share of
    changed columns for others. The first step is compared with the action taken last, where that is known."""

    def per_step(self, outcome: Outcome) -> Tensor:
        actions = outcome.actions
        before = torch.cat([outcome.before[:, :, None].to(actions), actions[:, :, :-1]], dim=2)
        if outcome.model.config.actions.kind == "box":
            return (_unit(outcome, actions) - _unit(outcome, before)).square().mean(-1)
        return (actions != before).float().mean(-1)


class Constraint(Objective):
    """A cost where something exceeds zero.

    Args:
        function: ``outcome -> excess [b n h]``; at most 0 where all is well.
        penalty: cost per unit of excess; infinite rules a candidate out.
    """

    def __init__(self, function: Callable[[Outcome], Tensor], penalty: float = math.inf) -> None:
        super().__init__("all")
        if not penalty > 0:
            raise ValueError(f"penalty: expected a positive number, or infinity, got {penalty}")
        self.function, self.penalty = function, penalty

    def per_step(self, outcome: Outcome) -> Tensor:
        excess = self.function(outcome)
        broken = ~(excess <= 0)  # NaN is not all well
        return torch.where(broken, excess * self.penalty, torch.zeros_like(excess))


def _unit(outcome: Outcome, actions: Tensor) -> Tensor:
    spec = outcome.model.config.actions
    low, high = actions.new_tensor(spec.low), actions.new_tensor(spec.high)
    if spec.kind != "box" or not bool((high - low).isfinite().all()):
        raise ValueError(f"actions: expected a bounded continuous action space to measure them in, got {spec}")
    return (actions - (low + high) / 2) / ((high - low) / 2).clamp(min=1e-12)
