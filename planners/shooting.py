"""Random shooting: the best of many candidates drawn blindly. Any action space; the measure of all other planners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from planners.population import PopulationConfig, PopulationPlanner, Scored
from planners.randomness import chance
from planners.search import PlannerConfig, Search, refuse_bounds
from planners.search_space import CategorySpace, SearchSpace
from planners.waypoints import box_space


@dataclass(frozen=True)
class ShootingConfig(PopulationConfig):
    """Settings of :class:`RandomShooting`; more rounds are more candidates."""

    num_iterations: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.returns != "best":
            raise ValueError("returns: random shooting has no mean to return, expected 'best'")


class RandomShooting(PopulationPlanner[ShootingConfig, None]):
    """Draws every action evenly from the action space."""

    default: ClassVar[type[PlannerConfig]] = ShootingConfig

    def _space(self) -> SearchSpace:
        config = self.config
        if self.model.config.actions.kind == "box":
            return box_space(self.model.config, config.within_block, config.action_low, config.action_high)
        refuse_bounds(self.config)
        return CategorySpace(self.model.config.actions)

    def _initial(self, search: Search) -> None:
        return None

    def _sample(self, distribution: None, search: Search, count: int) -> Tensor:
        points = search.space.uniform(chance(search.shape(count), search.generator))
        return points.float() if points.is_floating_point() else points

    def _refit(self, distribution: None, scored: Scored) -> None:
        return None

    def _centre(self, distribution: None) -> None:
        return None

    def _spread(self, points: Tensor) -> Tensor:
        return super()._spread(points.float())
