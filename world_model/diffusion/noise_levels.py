"""How training draws a noise level for every frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LevelConfig:
    """Mixture over levels: with probability ``terminal_fraction`` pure noise, else uniform in 0..num_levels-1.

    Diffusion forcing (Chen et al. 2024) is the pure uniform case, each frame by itself. Few-step samplers start at
    pure noise for every frame, so a model made for them spends more of its training there.
    """

    terminal_fraction: float = 0.0
    num_levels: int = 1000


def draw_levels(shape: tuple[int, int], config: LevelConfig, generator: torch.Generator) -> Tensor:
    """Independent levels ``[b t]`` (int64, on the CPU)."""
    levels = torch.randint(config.num_levels, shape, generator=generator)
    terminal = torch.rand(shape, generator=generator) < config.terminal_fraction
    return torch.where(terminal, config.num_levels - 1, levels)
