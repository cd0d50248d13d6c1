"""The cross-entropy method on discrete actions: a table of probabilities per step and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from planners.checks import at_least, between
from planners.population import PopulationConfig, PopulationPlanner, Scored
from planners.randomness import chance
from planners.search import PlannerConfig, Search, refuse_bounds
from planners.search_space import CategorySpace, SearchSpace


@dataclass(frozen=True)
class CategoricalCEMConfig(PopulationConfig):
    """Settings of :class:`CategoricalCEM`.

    Attributes:
        num_elites: cheapest candidates, whose choices are counted.
        momentum: 0 to 1, how much of the old probabilities stays.
        min_probability: of any value, so that none is ruled out for good; at most one over the number of values.
    """

    num_elites: int = 8
    momentum: float = 0.1
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_elites", self.num_elites, 1)
        if self.num_elites > self.num_candidates:
            raise ValueError(
                f"num_elites: expected at most num_candidates={self.num_candidates}, got {self.num_elites}"
            )
        between("momentum", self.momentum, 0, 1)
        between("min_probability", self.min_probability, 0, 1)


class CategoricalCEM(PopulationPlanner[CategoricalCEMConfig, Tensor]):
    """Draws candidates from probabilities ``[b 1 k a m]`` and counts the choices of the elites.

    Discrete, multi-discrete and multi-binary actions; columns with fewer than ``m`` values give the others 0.
    """

    default: ClassVar[type[PlannerConfig]] = CategoricalCEMConfig

    def _space(self) -> SearchSpace:
        space = CategorySpace(self.model.config.actions)
        refuse_bounds(self.config)
        if self.config.min_probability * max(space.sizes) > 1:
            raise ValueError(
                f"min_probability: expected at most 1/{max(space.sizes)} for an action of so many values, got "
                f"{self.config.min_probability}"
            )
        return space

    def _initial(self, search: Search) -> Tensor:
        assert isinstance(search.space, CategorySpace)
        sizes = torch.tensor(search.space.sizes)
        even = (torch.arange(int(sizes.max())) < sizes[:, None]) / sizes[:, None]
        even = even.expand(*search.shape(1), -1)
        if search.warm_points is None:
            return even
        # Half of the candidates' choices go on as before.
        return (F.one_hot(search.warm_points, even.shape[-1]) + even) / 2

    def _sample(self, distribution: Tensor, search: Search, count: int) -> Tensor:
        numbers = chance(search.shape(count), search.generator)[..., None]
        edges = distribution.double().cumsum(-1)
        edges = edges / edges[..., -1:]
        return (numbers >= edges[..., :-1]).sum(-1)

    def _refit(self, distribution: Tensor, scored: Scored) -> Tensor:
        elites = scored.elites(self.config.num_elites)
        weights = elites.costs.isfinite().float()[..., None, None, None]
        count = weights.sum(1, keepdim=True)
        chosen = F.one_hot(elites.points, distribution.shape[-1])
        frequency = (weights * chosen).sum(1, keepdim=True) / count.clamp(min=1)
        momentum = self.config.momentum
        possible = distribution > 0
        mixed = momentum * distribution + (1 - momentum) * frequency
        mixed = torch.where(possible, mixed.clamp(min=self.config.min_probability), 0.0)
        return torch.where(count > 0, mixed / mixed.sum(-1, keepdim=True), distribution)

    def _centre(self, distribution: Tensor) -> Tensor:
        return distribution.argmax(-1)

    def _spread(self, points: Tensor) -> Tensor:
        usual = points.mode(dim=1, keepdim=True).values
        return (points != usual).float().mean((1, 2, 3))
