"""What a planner returns, as values: the plan itself, how the search went, and what the next plan may start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Ending = Literal["finished", "time limit"]


@dataclass(frozen=True, eq=False)
class IterationStats:
    """One round of a search, for ``b`` environments planned for together.

    Attributes:
        iteration: counted from 0.
        best: ``[b]``, lowest cost so far; infinite while no candidate's was finite.
        mean: ``[b]``, mean of the finite costs of this round (NaN if there was none).
        spread: ``[b]``, how far apart this round's candidates are: mean standard deviation of an action, in halves of
            its range (continuous actions), or share of candidates that differ from the most frequent choice (others).
        num_invalid: candidates whose cost was not a finite number, or that the time limit left unjudged.
        imagined_steps: steps of the world model so far, every candidate's counted.
        seconds: since planning began.
    """

    iteration: int
    best: Tensor
    mean: Tensor
    spread: Tensor
    num_invalid: int
    imagined_steps: int
    seconds: float


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Where a search may begin.

    Attributes:
        actions: ``[b h a]``, in the world model's own form; of any length, continued by its last action.
        elites: ``[b k h a]``, further good candidates, or ``None``.
    """

    actions: Tensor
    elites: Tensor | None = None

    def fitted(self, horizon: int) -> WarmStart:
        """Cut or continued to ``horizon`` steps."""
        return WarmStart(_fit(self.actions, horizon), None if self.elites is None else _fit(self.elites, horizon))


@dataclass(frozen=True, eq=False)
class Plan:
    """The actions a planner chose for ``b`` environments, and what the world model says they lead to.

    Attributes:
        actions: ``[b h a]``, in the world model's own form (:meth:`~world_model.types.ActionSpec.to_native` gives the
            environment's).
        cost: ``[b]``; infinite where no candidate had a finite cost (the actions are then valid, but arbitrary).
        step_costs: ``[b h]``, the objective's measure of every imagined step, before steps are weighted.
        latents: ``[b h c y x]``, the imagined frames; :meth:`~world_model.model.WorldModel.decode` gives pixels.
        elites: ``[b k h a]``, good candidates worth trying again, or ``None``.
        statistics: one entry per round.
        seconds: spent planning.
        ending: ``"time limit"`` if rounds were left out.
    """

    actions: Tensor
    cost: Tensor
    step_costs: Tensor
    latents: Tensor
    elites: Tensor | None
    statistics: tuple[IterationStats, ...]
    seconds: float
    ending: Ending

    @property
    def horizon(self) -> int:
        return self.actions.shape[1]

    def select(self, rows: Sequence[int]) -> Plan:
        """The plans of some of the environments; statistics stay those of all."""
        index = torch.as_tensor(rows, dtype=torch.long)
        return replace(
            self,
            actions=self.actions[index],
            cost=self.cost[index],
            step_costs=self.step_costs[index],
            latents=self.latents[index.to(self.latents.device)],
            elites=None if self.elites is None else self.elites[index],
        )

    def after(self, steps: int) -> WarmStart:
        """What is left of the plan once ``steps`` of its actions were taken, to warm-start the next one with."""
        if steps < 0:
            raise ValueError(f"steps: expected 0 or more, got {steps}")
        steps = min(steps, self.horizon - 1)
        return WarmStart(self.actions[:, steps:], None if self.elites is None else self.elites[:, :, steps:])


def _fit(actions: Tensor, horizon: int) -> Tensor:
    """``[... t a] -> [... horizon a]``."""
    missing = horizon - actions.shape[-2]
    if missing <= 0:
        return actions[..., :horizon, :]
    last = actions[..., -1:, :].expand(*actions.shape[:-2], missing, actions.shape[-1])
    return torch.cat([actions, last], dim=-2)
