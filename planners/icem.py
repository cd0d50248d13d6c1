"""The improved cross-entropy method (iCEM, Pinneri et al. 2020): fewer samples, used again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from planners.cem import CEMConfig, EliteGaussianPlanner
from planners.checks import at_least, between
from planners.gaussian import Gaussian
from planners.population import Scored
from planners.search import PlannerConfig, Search


@dataclass(frozen=True)
class ICEMConfig(CEMConfig):
    """Settings of :class:`ICEM`.

    Attributes:
        noise_exponent: how slowly the noise changes over time: 0 not at all slowly, 2 as a random walk does.
        kept_elites: share of the elites that stay in the population, and that the next plan may start from.
        decay: each round has this many times fewer candidates than the one before (but twice the elites).
    """

    noise_exponent: float = 2.0
    kept_elites: float = 0.3
    decay: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("noise_exponent", self.noise_exponent, 0)
        between("kept_elites", self.kept_elites, 0, 1)
        at_least("decay", self.decay, 1)


class ICEM(EliteGaussianPlanner[ICEMConfig]):
    """CEM with noise that is correlated over time, a shrinking population and elites that stay.

    Given ``previous_plan.after(steps)`` as a warm start, the elites of the previous plan, shifted, are candidates too.
    """

    default: ClassVar[type[PlannerConfig]] = ICEMConfig

    def _count(self, iteration: int) -> int:
        config = self.config
        fewest = min(2 * config.num_elites, config.num_candidates)
        return max(fewest, round(config.num_candidates * config.decay**-iteration))

    def _sample(self, distribution: Gaussian, search: Search, count: int) -> Tensor:
        return distribution.colored(search, count, self.config.noise_exponent)

    def _keep(self, scored: Scored) -> Scored | None:
        count = round(self.config.kept_elites * self.config.num_elites)
        return scored.elites(count) if count else None
