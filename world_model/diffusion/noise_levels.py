"""How training draws a noise level for every frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LevelConfig:
    """Mixture over levels: with probability ``terminal_fraction`` pure noise, else uniform in lowest..num_levels-1.

    Diffusion forcing (Chen et al. 2024) is the pure uniform case, each frame by itself. Few-step samplers start at
    pure noise for every frame and never come to low levels, so a model made for them spends more of its training at
    the one and none at the others: n steps come down to level 1000 / n - 1 or so, and one step never leaves pure noise
    (``terminal_fraction=1``).
    """

    terminal_fraction: float = 0.0
    num_levels: int = 1000
    lowest: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.terminal_fraction <= 1:
            raise ValueError(f"levels.terminal_fraction: expected 0..1, got {self.terminal_fraction}")
        if not 0 <= self.lowest < self.num_levels:
            raise ValueError(f"levels.lowest: expected 0..{self.num_levels - 1}, got {self.lowest}")


def draw_levels(shape: tuple[int, int], config: LevelConfig, generator: torch.Generator) -> Tensor:
    """Independent levels ``[b t]`` (int64, on the CPU)."""
    levels = torch.randint(config.lowest, config.num_levels, shape, generator=generator)
    terminal = torch.rand(shape, generator=generator) < config.terminal_fraction
    return torch.where(terminal, config.num_levels - 1, levels)
