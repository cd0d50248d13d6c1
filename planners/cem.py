"""The cross-entropy method on continuous actions (Rubinstein 1999; for planning, Chua et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import Tensor

from planners.checks import above, at_least, between, one_of
from planners.gaussian import Gaussian
from planners.population import PopulationConfig, PopulationPlanner, Scored
from planners.search import PlannerConfig, Search, Start
from planners.search_space import SearchSpace
from planners.waypoints import box_space


@dataclass(frozen=True)
class CEMConfig(PopulationConfig):
    """Settings of :class:`CEM`.

    Attributes:
        num_elites: cheapest candidates, to which the distribution is fitted.
        momentum: 0 to 1, how much of the old distribution stays.
        initial_std: standard deviation at the beginning, in halves of the action range.
        warm_std: the same at a warm start; ``None`` for no other.
        min_std: it never falls below.
        start: where the search begins without a warm start: in the ``"centre"`` of the action space, or ``"hold"``, at
            the action taken last, for actions that name a position.
    """

    num_elites: int = 8
    momentum: float = 0.1
    initial_std: float = 0.5
    warm_std: float | None = None
    min_std: float = 0.02
    start: Start = "centre"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_elites", self.num_elites, 1)
        if self.num_elites > self.num_candidates:
            raise ValueError(
                f"num_elites: expected at most num_candidates={self.num_candidates}, got {self.num_elites}"
            )
        between("momentum", self.momentum, 0, 1)
        above("initial_std", self.initial_std, 0)
        if self.warm_std is not None:
            above("warm_std", self.warm_std, 0)
        above("min_std", self.min_std, 0)
        one_of("start", self.start, ("centre", "hold"))


E = TypeVar("E", bound=CEMConfig)


class EliteGaussianPlanner(PopulationPlanner[E, Gaussian]):
    """Fits a normal distribution to the elites."""

    def _space(self) -> SearchSpace:
        config = self.config
        return box_space(self.model.config, config.within_block, config.action_low, config.action_high)

    def _initial(self, search: Search) -> Gaussian:
        config = self.config
        cold = config.warm_std is None or search.warm_points is None
        std = config.initial_std if cold else config.warm_std
        return Gaussian.around_start(search, config.start, std)

    def _refit(self, distribution: Gaussian, scored: Scored) -> Gaussian:
        config = self.config
        return distribution.fitted(scored.elites(config.num_elites), config.momentum, config.min_std)

    def _centre(self, distribution: Gaussian) -> Tensor:
        return distribution.mean


class CEM(EliteGaussianPlanner[CEMConfig]):
    """Draws candidates from normal distributions cut off at the action bounds, one per step and column."""

    default: ClassVar[type[PlannerConfig]] = CEMConfig

    def _sample(self, distribution: Gaussian, search: Search, count: int) -> Tensor:
        return distribution.truncated(search, count)
