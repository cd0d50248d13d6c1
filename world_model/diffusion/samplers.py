"""DDIM (Song et al. 2021) over noise levels, written for one step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from torch import Tensor

from world_model.diffusion.parameterization import clean_from_v, noise_from_v
from world_model.diffusion.schedule import Schedule

Spacing = Literal["uniform", "trailing"]


def sampling_levels(num_steps: int, spacing: Spacing, num_levels: int = 1000) -> tuple[int, ...]:
    """The levels visited, ascending. ``trailing`` always ends at the noisiest level, ``uniform`` starts at level 1.

    As in the reference, ``uniform`` visits more levels than asked for where ``num_steps`` does not divide
    ``num_levels``.

    Raises:
        ValueError: if ``num_steps`` cannot be spaced over the levels.
    """
    if not 1 <= num_steps <= num_levels:
        raise ValueError(f"num_sampling_steps: expected 1..{num_levels}, got {num_steps}")
    if spacing == "uniform":
        levels = np.arange(0, num_levels, num_levels // num_steps) + 1
    elif spacing == "trailing":
        levels = _trailing(num_steps, num_levels)
        levels = levels[levels >= 0]
    else:
        raise ValueError(f"spacing: expected 'uniform' or 'trailing', got {spacing!r}")
    if levels[-1] >= num_levels:
        raise ValueError(
            f"num_sampling_steps={num_steps} with uniform spacing reaches level {levels[-1]} of {num_levels}; "
            "take a number of steps that divides it, or trailing spacing"
        )
    return tuple(int(level) for level in levels)


def overshoots(num_steps: int, num_levels: int = 1000) -> bool:
    """Whether ``trailing`` spacing is rounded to one level too many: for 61 steps, the lowest of 62 levels is -1.

    We leave that level out. The published code reads its tables from the end there, where the signal is 0, and divides
    by it: its samples are not finite.
    """
    return bool((_trailing(num_steps, num_levels) < 0).any())


def _trailing(num_steps: int, num_levels: int) -> np.ndarray:
    return np.flip(np.round(np.arange(num_levels, 0, -num_levels / num_steps))).astype(int) - 1


@dataclass(frozen=True)
class DDIMTable:
    """Coefficients of each step, in ascending order of its level (float64)."""

    levels: tuple[int, ...]
    alphas: np.ndarray
    alphas_prev: np.ndarray
    sigmas: np.ndarray
    scale_ratio: np.ndarray
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.levels)


@lru_cache(maxsize=64)
def ddim_table(
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing = "trailing",
    eta: float = 0.0,
    full_denoising: bool = True,
    temperature: float = 1.0,
) -> DDIMTable:
    """The coefficients of a run.

    Args:
        full_denoising: let the last step end at signal 1. The reference ends at level 0 (signal 0.99915), which
            leaves noise of standard deviation 0.03 in the result.
        temperature: scales the fresh noise of each step, but not the share of noise that is taken away for it.
    """
    levels = sampling_levels(num_steps, spacing, schedule.config.num_levels)
    # The tables follow the float32 buffers, as the reference's do.
    signal = schedule.alphas_cumprod.astype(np.float32).astype(np.float64)
    index = np.asarray(levels)
    alphas = signal[index]
    alphas_prev = np.concatenate([[1.0 if full_denoising else signal[0]], alphas[:-1]])
    sigmas = eta * np.sqrt((1 - alphas_prev) / (1 - alphas) * (1 - alphas / alphas_prev))
    scale = schedule.scale[index]
    scale_prev = np.concatenate([scale[:1], scale[:-1]])
    return DDIMTable(levels, alphas, alphas_prev, sigmas, scale_prev / scale, temperature)


def ddim_step(table: DDIMTable, step: int, noisy: Tensor, v: Tensor, signal: Tensor, noise: Tensor | None) -> Tensor:
    """One step down, for latents of any shape.

    Args:
        step: index into the table; its last entry comes first.
        signal: alphas_cumprod of the latents' own levels, broadcast to them.
        noise: fresh noise, needed where the step's sigma is not 0.
    """
    clean = clean_from_v(noisy, v, signal) * float(table.scale_ratio[step])
    previous, sigma = float(table.alphas_prev[step]), float(table.sigmas[step])
    direction = max(1 - previous - sigma**2, 0.0)  # rounding can take it below 0 at the zero-signal level
    out = previous**0.5 * clean
    if direction:
        out = out + direction**0.5 * noise_from_v(noisy, v, signal)
    if sigma:
        assert noise is not None
        out = out + table.temperature * sigma * noise
    return out
