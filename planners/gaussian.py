"""Normal distributions over action sequences, for planners of bounded continuous actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planners.population import Scored
from planners.randomness import chance, colored_noise
from planners.search import Search, Start


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Independent normal numbers: ``mean [b 1 k a]`` and ``std [b 1 k a]``, in halves of the action range."""

    mean: Tensor
    std: Tensor

    @classmethod
    def around_start(cls, search: Search, start: Start, std: float) -> Gaussian:
        mean = search.start_points(start)
        return cls(mean, torch.full_like(mean, std))

    def truncated(self, search: Search, count: int) -> Tensor:
        """``[b count k a]``, drawn from the part of the distribution that lies within the bounds."""
        low, high = ((bound - self.mean.double()) / self.std.double() for bound in (-1.0, 1.0))
        below, above = torch.special.ndtr(low), torch.special.ndtr(high)
        u = below + chance(search.shape(count), search.generator) * (above - below)
        points = self.mean + self.std * torch.special.ndtri(u).to(self.mean)
        return points.clamp(-1, 1)

    def colored(self, search: Search, count: int, exponent: float) -> Tensor:
        """``[b count k a]`` with noise that changes slowly over time; what leaves the bounds is put onto them."""
        noise = colored_noise(search.shape(count), exponent, search.generator)
        return (self.mean + self.std * noise).clamp(-1, 1)

    def fitted(self, elites: Scored, momentum: float, min_std: float) -> Gaussian:
        """Mean and deviation of the elites that have a finite cost, mixed with the old ones; where there is no such
        elite the distribution stays, where there is one only the mean moves."""
        weights = elites.costs.isfinite().to(self.mean)[..., None, None]
        count = weights.sum(1, keepdim=True)
        mean = (weights * elites.points).sum(1, keepdim=True) / count.clamp(min=1)
        variance = (weights * (elites.points - mean).square()).sum(1, keepdim=True) / count.clamp(min=1)
        mean = torch.where(count > 0, momentum * self.mean + (1 - momentum) * mean, self.mean)
        std = torch.where(count > 1, momentum * self.std + (1 - momentum) * variance.sqrt(), self.std)
        return Gaussian(mean, std.clamp(min=min_std))
