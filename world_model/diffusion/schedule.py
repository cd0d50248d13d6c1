"""The noise schedule: 1000 levels from almost clean (0) to pure noise (999), with zero terminal signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ScheduleConfig:
    """Defaults are the published ones, but for the dynamic rescale, which is off.

    ``base_scale`` < 1 shrinks clean latents at high noise levels, linearly until ``turning_step``
    (DynamiCrafter uses 0.7 and 400).
    """

    num_levels: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = True
    base_scale: float = 1.0
    turning_step: int = 400


class Schedule:
    """Float32 tables over the levels, on whichever device they are asked for.

    Attributes:
        alphas_cumprod: ``[num_levels]`` float64, variance of the signal at each level; the last is exactly 0.
        scale: ``[num_levels]`` float64, factor on clean latents (dynamic rescale).
    """

    def __init__(self, config: ScheduleConfig | None = None) -> None:
        self.config = config = config or ScheduleConfig()
        n = config.num_levels
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, n, dtype=np.float64) ** 2
        signal = np.sqrt(np.cumprod(1 - betas))
        if config.zero_terminal_snr:  # shift the last to 0, keep the first (Lin et al. 2024, algorithm 1)
            signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
        self.alphas_cumprod = signal**2
        ramp = np.linspace(1.0, config.base_scale, config.turning_step)[:n]
        self.scale = np.concatenate([ramp, np.full(n - len(ramp), config.base_scale)])
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def betas(self) -> np.ndarray:
        """``[num_levels]`` float64, share of the variance that each level replaces by noise."""
        return 1 - self.alphas_cumprod / np.concatenate([[1.0], self.alphas_cumprod[:-1]])

    def signal(self, levels: Tensor) -> Tensor:
        """``alphas_cumprod`` of levels ``[b f]``, shaped ``[b f 1 1 1]`` to multiply latents."""
        return self._on(levels.device)[0][levels][..., None, None, None]

    def rescale(self, levels: Tensor) -> Tensor:
        """``scale`` of levels ``[b f]``, shaped ``[b f 1 1 1]``."""
        return self._on(levels.device)[1][levels][..., None, None, None]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            tables = (torch.from_numpy(table).float().to(device) for table in (self.alphas_cumprod, self.scale))
            self._tables[device] = tuple(tables)  # type: ignore[assignment]
        return self._tables[device]
