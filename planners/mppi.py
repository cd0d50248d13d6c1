"""Model predictive path integral control (Williams et al. 2017): candidates averaged by how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from planners.checks import above, at_least, one_of
from planners.gaussian import Gaussian
from planners.population import PopulationConfig, PopulationPlanner, Returns, Scored
from planners.search import PlannerConfig, Search, Start
from planners.search_space import SearchSpace
from planners.waypoints import box_space


@dataclass(frozen=True)
class MPPIConfig(PopulationConfig):
    """Settings of :class:`MPPI`.

    Attributes:
        std: standard deviation of the candidates around the mean, in halves of the action range.
        temperature: a candidate weighs ``exp(-(cost - lowest cost) / (temperature * deviation of costs))``; costs are
            measured against their own deviation, so that the temperature does not depend on the objective's scale.
        noise_exponent: how slowly the noise changes over time: 0 not at all slowly, 2 as a random walk does.
        start: where the search begins without a warm start: ``"centre"`` or ``"hold"``, see
            :class:`~planners.cem.CEMConfig`.
    """

    returns: Returns = "mean"
    std: float = 0.3
    temperature: float = 0.3
    noise_exponent: float = 1.0
    start: Start = "centre"

    def __post_init__(self) -> None:
        super().__post_init__()
        above("std", self.std, 0)
        above("temperature", self.temperature, 0)
        at_least("noise_exponent", self.noise_exponent, 0)
        one_of("start", self.start, ("centre", "hold"))


class MPPI(PopulationPlanner[MPPIConfig, Gaussian]):
    """Moves a mean action sequence to the weighted average of noisy versions of itself."""

    default: ClassVar[type[PlannerConfig]] = MPPIConfig

    def _space(self) -> SearchSpace:
        config = self.config
        return box_space(self.model.config, config.within_block, config.action_low, config.action_high)

    def _initial(self, search: Search) -> Gaussian:
        return Gaussian.around_start(search, self.config.start, self.config.std)

    def _sample(self, distribution: Gaussian, search: Search, count: int) -> Tensor:
        noisy = distribution.colored(search, count, self.config.noise_exponent)
        noisy[:, :1] = distribution.mean
        return noisy

    def _refit(self, distribution: Gaussian, scored: Scored) -> Gaussian:
        finite = scored.costs.isfinite()
        count = finite.sum(1, keepdim=True).clamp(min=1)
        costs = torch.where(finite, scored.costs, 0.0)
        deviations = torch.where(finite, costs - costs.sum(1, keepdim=True) / count, 0.0)
        scale = (deviations.square().sum(1, keepdim=True) / count).sqrt().clamp(min=1e-12)
        lowest = scored.costs.amin(1, keepdim=True)
        lowest = torch.where(lowest.isfinite(), lowest, 0.0)
        weights = torch.exp(-(scored.costs - lowest) / (self.config.temperature * scale))
        total = weights.sum(1, keepdim=True)
        mean = (weights / total.clamp(min=1e-12))[..., None, None] * scored.points
        found = (total > 0)[..., None, None]
        return Gaussian(torch.where(found, mean.sum(1, keepdim=True), distribution.mean), distribution.std)

    def _centre(self, distribution: Gaussian) -> Tensor:
        return distribution.mean
