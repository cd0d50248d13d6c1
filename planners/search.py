"""One call of a planner while it lasts: the settings, the clock, what was found, and how it becomes a plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from planners.checks import above, at_least, one_of
from planners.imagination import Imagination
from planners.objective import Objective, check_costs
from planners.plan import Ending, IterationStats, Plan
from planners.search_space import Bound, SearchSpace
from planners.waypoints import WaypointSpace, WithinBlock
from world_model.types import Generators

Progress: TypeAlias = Callable[[IterationStats], None]
Start: TypeAlias = Literal["centre", "hold"]


@dataclass(frozen=True)
class PlannerConfig:
    """What every planner can be told.

    Attributes:
        horizon: steps of the world model that a plan is long.
        action_repeat: steps that each chosen action is held for.
        time_limit: seconds after which the best plan so far is returned; a round that would take longer is not begun.
            The first round always starts, and ends early only between chunks of candidates.
        memory_gib: GiB that candidates may take at a time; they are imagined in as many parts as that needs.
        action_low: lowest action to consider, one number or one per column; ``None`` for the space's own bound.
        action_high: highest action to consider.
        within_block: for world models whose actions are blocks of continuous ones (``action_block``): ``"glide"`` and
            ``"hold"`` choose the last action of each block and glide to it or hold it, ``"free"`` chooses all of them.
        max_change: how far a continuous action may lie from the one before, in halves of its range; the first one from
            the action taken last, where that is known. Searches otherwise find jumps that no recording shows, and what
            a world model makes of them.
    """

    horizon: int = 16
    action_repeat: int = 1
    time_limit: float | None = None
    memory_gib: float = 2.0
    action_low: Bound = None
    action_high: Bound = None
    within_block: WithinBlock = "glide"
    max_change: float | None = None

    def __post_init__(self) -> None:
        one_of("within_block", self.within_block, get_args(WithinBlock))
        at_least("horizon", self.horizon, 1)
        at_least("action_repeat", self.action_repeat, 1)
        above("memory_gib", self.memory_gib, 0)
        if self.time_limit is not None:
            above("time_limit", self.time_limit, 0)
        if self.max_change is not None:
            above("max_change", self.max_change, 0)

    @property
    def num_choices(self) -> int:
        """Actions to choose: fewer than steps if each is held."""
        return -(-self.horizon // self.action_repeat)


def refuse_bounds(config: PlannerConfig) -> None:
    """Raise :class:`ValueError` for settings that mean nothing for discrete actions."""
    for name in ("action_low", "action_high", "max_change"):
        if getattr(config, name) is not None:
            raise ValueError(f"{name}: only for continuous actions, expected null, got {getattr(config, name)}")


@dataclass
class Search:
    """One call of :meth:`Planner.plan` while it lasts. Points are ``[b n k a]``: ``k`` choices in the search space.

    ``held [b 1 1 a]`` is the action taken last, as a point; ``held_known [b 1 1 1]`` says where that is known.
    """

    imagination: Imagination
    objective: Objective
    space: SearchSpace
    config: PlannerConfig
    generator: Generators
    warm_points: Tensor | None
    warm_elites: Tensor | None
    held: Tensor
    held_known: Tensor
    progress: Progress | None
    began: float = field(default_factory=time.perf_counter)
    statistics: list[IterationStats] = field(default_factory=list)
    ending: Ending = "finished"
    _round: float = 0.0

    @property
    def batch(self) -> int:
        return self.imagination.state.batch_size

    def shape(self, candidates: int) -> tuple[int, int, int, int]:
        """``(b, candidates, k, a)``."""
        return (self.batch, candidates, self.config.num_choices, self.space.columns)

    def actions(self, points: Tensor) -> Tensor:
        """Points ``[b n k a]`` as actions ``[b n h a]``."""
        if self.config.max_change is not None:
            points = self._gradual(points, self.config.max_change)
        points = points.repeat_interleave(self.config.action_repeat, dim=2)[:, :, : self.config.horizon]
        if isinstance(self.space, WaypointSpace):
            return self.space.paths(points, self._before(points))
        return self.space.to_actions(points)

    def _before(self, points: Tensor) -> Tensor:
        """``[b n a]``, the action taken last; where nobody knows it, the first of ``points [b n k a]``."""
        return torch.where(self.held_known[:, :, 0], self.held[:, :, 0], points[:, :, 0])

    def _gradual(self, points: Tensor, most: float) -> Tensor:
        """Each choice moved to where it is at most ``most`` from the one before."""
        before = self._before(points)
        found = []
        for point in points.clamp(-1, 1).unbind(2):
            before = torch.minimum(torch.maximum(point, before - most), before + most)
            found.append(before)
        return torch.stack(found, dim=2)

    def start_points(self, start: Start) -> Tensor:
        """``[b 1 k a]`` of continuous actions, where a search without elites begins: at the warm start, else at the
        action taken last (``"hold"``, where there is one), else in the middle of the space."""
        if self.warm_points is not None:
            return self.warm_points
        held = torch.where(self.held_known, self.held, 0.0) if start == "hold" else torch.zeros(1)
        return held.expand(self.shape(1)).clone()

    def suggested(self, count: int) -> Tensor:
        """Points ``[b count k a]`` that the objective suggests.

        Raises:
            ValueError: if it knows of none.
        """
        state, config = self.imagination.state, self.config
        with torch.no_grad():
            actions = self.objective.suggest(state, config.horizon, count, self.generator)
        if actions is None:
            raise ValueError(
                "num_suggested: the objective suggests no actions, expected 0; GoalState (goal_space=state) does for "
                "a world model with an action prior (`v2w train train=action_prior`)"
            )
        return self.space.from_actions(actions.cpu()[:, :, :: config.action_repeat])

    def costs(self, points: Tensor) -> Tensor:
        """``[b n]``, infinite for candidates without a finite cost."""
        deadline = None if self.config.time_limit is None else self.began + self.config.time_limit
        return self.imagination.costs(self.objective, self.actions(points), deadline)

    def time_for_another(self) -> bool:
        """Whether a round as long as the last one still fits; call it before each."""
        now = time.perf_counter()
        last, self._round = now - self._round if self._round else 0.0, now
        limit = self.config.time_limit
        if limit is not None and self.statistics and now - self.began + last > limit:
            self.ending = "time limit"
            return False
        return True

    def report(self, best: Tensor, costs: Tensor, spread: Tensor) -> None:
        """Note how a round went: best cost so far ``[b]``, its costs ``[b n]``, its spread ``[b]``."""
        finite = costs.isfinite()
        total = torch.where(finite, costs, 0.0).sum(1)
        mean = torch.where(finite.any(1), total / finite.sum(1).clamp(min=1), torch.nan)
        stats = IterationStats(
            len(self.statistics),
            best.clone(),
            mean,
            spread,
            int((~finite).sum()),
            self.imagination.imagined_steps,
            time.perf_counter() - self.began,
        )
        self.statistics.append(stats)
        if self.progress is not None:
            self.progress(stats)

    def finish(self, finalists: Tensor, elites: Tensor | None = None) -> Plan:
        """Imagine the finalists ``[b m k a]`` once more and keep the best of each environment."""
        with torch.no_grad():
            outcome = self.imagination.outcome(self.actions(finalists))
            total = self.objective(outcome).float().cpu()
            per_step = self.objective.per_step(outcome)
            check_costs(self.objective, per_step, outcome)
        total = torch.where(total.isfinite(), total, torch.inf)
        rows, best = torch.arange(self.batch), total.argmin(1)
        on_device = best.to(outcome.latents.device)
        return Plan(
            actions=outcome.actions.cpu()[rows, best],
            cost=total[rows, best],
            step_costs=per_step.float().cpu()[rows, best],
            latents=outcome.latents[torch.arange(self.batch, device=on_device.device), on_device],
            elites=None if elites is None else self.actions(elites),
            statistics=tuple(self.statistics),
            seconds=time.perf_counter() - self.began,
            ending=self.ending,
        )
