"""What model predictive control reports: each step as it happens, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from planners.plan import Plan
from planners.real import RealStep


@dataclass(frozen=True, eq=False)
class MPCStep:
    """One action in each of the ``m`` environments that were still running.

    Attributes:
        index: counted from 0.
        rows: which environments these are.
        before: uint8 ``[m h w 3]``, the real frames before the action.
        actions: ``[m *shape]``, in the environments' units.
        real: what happened.
        predicted_costs: ``[m]``, what the plan's imagined frame costs (the objective's measure of a step).
        real_costs: ``[m]``, what the real frame costs.
        plan: that the actions are from, of the same environments.
        plan_step: which of the plan's steps this was; 0 right after planning.
        arrived: ``[m]``, whether ``until`` said so.
    """

    index: int
    rows: tuple[int, ...]
    before: np.ndarray
    actions: np.ndarray
    real: RealStep
    predicted_costs: np.ndarray
    real_costs: np.ndarray
    plan: Plan
    plan_step: int
    arrived: np.ndarray


@dataclass(frozen=True, eq=False)
class MPCResult:
    """How ``b`` environments went in up to ``t`` steps, ``p`` plans.

    Attributes:
        frames: per environment uint8 ``[its steps + 1, h w 3]``, in the world model's size.
        actions: per environment ``[its steps, *shape]``.
        predicted_costs: ``[b t]``, NaN once an environment has ended.
        real_costs: ``[b t]``, the same.
        rewards: ``[b t]``, the same.
        arrived: ``[b]``, whether ``until`` ended it.
        plan_costs: ``[b p]``, NaN for environments that had ended.
        planning_seconds: ``[p]``, for all environments together.
        imagined_steps: steps of the world model in all.
    """

    frames: list[np.ndarray]
    actions: list[np.ndarray]
    predicted_costs: np.ndarray
    real_costs: np.ndarray
    rewards: np.ndarray
    arrived: np.ndarray
    plan_costs: np.ndarray
    planning_seconds: np.ndarray
    imagined_steps: int

    @property
    def correlation(self) -> float:
        """Pearson's, of the predicted and the real costs of all steps; NaN where one of them never changes."""
        known = np.isfinite(self.predicted_costs) & np.isfinite(self.real_costs)
        predicted, real = self.predicted_costs[known], self.real_costs[known]
        if len(real) < 2 or not predicted.std() or not real.std():
            return float("nan")
        return float(np.corrcoef(predicted, real)[0, 1])


def collect(steps: Iterable[MPCStep], num_envs: int) -> MPCResult:
    """All steps as one result."""
    taken = list(steps)
    frames: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
    actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
    arrived = np.zeros(num_envs, np.bool_)
    for step in taken:
        for i, row in enumerate(step.rows):
            frames[row] += [step.before[i]] if not frames[row] else []
            frames[row].append(step.real.frames[i])
            actions[row].append(step.actions[i])
            arrived[row] |= step.arrived[i]
    planned = [step for step in taken if step.plan_step == 0]
    return MPCResult(
        frames=[np.stack(one) for one in frames],
        actions=[np.stack(one) for one in actions],
        predicted_costs=_table(num_envs, [(step.rows, step.predicted_costs) for step in taken]),
        real_costs=_table(num_envs, [(step.rows, step.real_costs) for step in taken]),
        rewards=_table(num_envs, [(step.rows, step.real.rewards) for step in taken]),
        arrived=arrived,
        plan_costs=_table(num_envs, [(step.rows, step.plan.cost.numpy()) for step in planned]),
        planning_seconds=np.array([step.plan.seconds for step in planned]),
        imagined_steps=sum(step.plan.statistics[-1].imagined_steps for step in planned),
    )


def _table(num_envs: int, columns: list[tuple[tuple[int, ...], np.ndarray]]) -> np.ndarray:
    """``[num_envs, len(columns)]``, NaN where a column has no value."""
    table = np.full((num_envs, len(columns)), np.nan)
    for i, (rows, values) in enumerate(columns):
        table[list(rows), i] = values
    return table
