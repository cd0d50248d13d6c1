"""The loop that population planners share: sample candidates, score them, refit what they are sampled from."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from planners.checks import at_least, between, one_of
from planners.plan import Plan
from planners.planner import Planner
from planners.search import PlannerConfig, Search

Returns = Literal["best", "mean"]


@dataclass(frozen=True)
class PopulationConfig(PlannerConfig):
    """What every population planner can be told.

    Attributes:
        num_candidates: candidates per round.
        num_iterations: rounds.
        warm_iterations: rounds of a search that begins at a warm start, which has less to find; ``None`` for as many.
        num_suggested: candidates of the first round that the objective suggests
            (:meth:`~planners.objective.Objective.suggest`) instead of drawn ones.
        returns: ``"best"`` takes the cheapest of all candidates and the centre of the last distribution, ``"mean"``
            that centre, which gives in less to errors of the world model.
    """

    num_candidates: int = 64
    num_iterations: int = 5
    warm_iterations: int | None = None
    num_suggested: int = 0
    returns: Returns = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_candidates", self.num_candidates, 1)
        at_least("num_iterations", self.num_iterations, 1)
        if self.warm_iterations is not None:
            at_least("warm_iterations", self.warm_iterations, 1)
        between("num_suggested", self.num_suggested, 0, self.num_candidates)
        one_of("returns", self.returns, ("best", "mean"))


D = TypeVar("D")  # what candidates are drawn from
P = TypeVar("P", bound=PopulationConfig)


class Scored(NamedTuple):
    """Candidates ``points [b n k a]`` and their ``costs [b n]``, infinite where they were not finite."""

    points: Tensor
    costs: Tensor

    def joined(self, other: Scored | None) -> Scored:
        if other is None:
            return self
        return Scored(torch.cat([self.points, other.points], 1), torch.cat([self.costs, other.costs], 1))

    def elites(self, count: int) -> Scored:
        """The ``count`` cheapest, cheapest first."""
        costs, index = self.costs.topk(min(count, self.costs.shape[1]), dim=1, largest=False)
        return Scored(self.points[torch.arange(len(index))[:, None], index], costs)


class PopulationPlanner(Planner[P], Generic[P, D]):
    """A planner that refines a distribution of candidates over a few rounds."""

    default: ClassVar[type[PlannerConfig]] = PopulationConfig

    def _search(self, search: Search) -> Plan:
        distribution = self._initial(search)
        given = [points for points in (search.warm_points, search.warm_elites) if points is not None]
        if self.config.num_suggested:
            given.append(search.suggested(self.config.num_suggested))
        kept: Scored | None = None
        best: Scored | None = None
        for iteration in range(self._rounds(search)):
            if not search.time_for_another():
                break
            points = self._sample(distribution, search, self._count(iteration))
            if given:  # what is known or thought to be good is tried as it is
                points = torch.cat([*given, points], dim=1)[:, : points.shape[1]]
                given = []
            scored = Scored(points, search.costs(points))
            best = scored.joined(best).elites(1)
            search.report(best.costs[:, 0], scored.costs, self._spread(points))
            scored = scored.joined(kept)
            distribution = self._refit(distribution, scored)
            kept = self._keep(scored)
        assert best is not None
        return search.finish(self._finalists(distribution, best), None if kept is None else kept.points)

    def _rounds(self, search: Search) -> int:
        fewer = self.config.warm_iterations
        return self.config.num_iterations if fewer is None or search.warm_points is None else fewer

    def _finalists(self, distribution: D, best: Scored) -> Tensor:
        centre = self._centre(distribution)
        if centre is None:
            return best.points
        return centre if self.config.returns == "mean" else torch.cat([centre, best.points], dim=1)

    def _count(self, iteration: int) -> int:
        """Candidates of a round."""
        return self.config.num_candidates

    @abstractmethod
    def _initial(self, search: Search) -> D:
        """What the first candidates are drawn from."""

    @abstractmethod
    def _sample(self, distribution: D, search: Search, count: int) -> Tensor:
        """Draw candidates ``[b count k a]``."""

    @abstractmethod
    def _refit(self, distribution: D, scored: Scored) -> D:
        """What the next candidates are drawn from."""

    @abstractmethod
    def _centre(self, distribution: D) -> Tensor | None:
        """The middle of the distribution ``[b 1 k a]``, itself a candidate for the plan; ``None`` if it has none."""

    def _keep(self, scored: Scored) -> Scored | None:
        """Candidates that stay in the population, and are handed on with the plan."""
        return None

    def _spread(self, points: Tensor) -> Tensor:
        """How far apart candidates ``[b n k a]`` are, ``[b]``."""
        return points.std(1, correction=0).mean((1, 2))
