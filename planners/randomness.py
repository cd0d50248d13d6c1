"""Random numbers for candidates: from the caller's generators, on the CPU, in the same order whatever the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from world_model.diffusion.randomness import draw_noise
from world_model.types import Generators


def check_generators(generator: Generators, batch: int) -> None:
    """Raise :class:`ValueError` unless there is one generator, or one per environment."""
    if isinstance(generator, torch.Generator):
        return
    if len(generator) != batch or not all(isinstance(one, torch.Generator) for one in generator):
        raise ValueError(
            f"generator: expected a torch.Generator, or one per environment ({batch}), got {len(generator)} objects"
        )


def draw_seeds(batch: int, generator: Generators) -> list[int]:
    """One seed per environment."""
    rows = [generator] * batch if isinstance(generator, torch.Generator) else generator
    return [int(torch.randint(2**62, (1,), generator=one, device=one.device)) for one in rows]


def normal(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """Standard normal numbers ``[b ...]``."""
    return draw_noise(shape, generator)


def chance(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """Numbers spread evenly over [0, 1), ``[b ...]``."""
    # Normal numbers through their own distribution, so that all draws come the same way.
    return torch.special.ndtr(draw_noise(shape, generator).double()).clamp(max=1 - 1e-12)


def colored_noise(shape: tuple[int, ...], exponent: float, generator: Generators) -> Tensor:
    """Normal numbers ``[... t a]`` whose power over time falls as ``1 / frequency ** exponent``; unit variance.

    0 is white noise; at 2 neighbouring steps are nearly alike, as in a random walk (Timmer and Koenig 1995, as used by
    iCEM, Pinneri et al. 2020).
    """
    white = normal(shape, generator)
    steps = shape[-2]
    if exponent == 0 or steps == 1:
        return white
    frequencies = torch.fft.rfftfreq(steps)
    # The constant part has no frequency; the reference takes that of the lowest one.
    scale = frequencies.clamp(min=1 / steps) ** (-exponent / 2)
    spectrum = torch.fft.rfft(white, dim=-2) * scale[:, None]
    # Parseval: each frequency but the first (and, for an even number of steps, the last) stands for two.
    twice = torch.full_like(scale, 2.0)
    twice[0] = 1.0
    if steps % 2 == 0:
        twice[-1] = 1.0
    variance = (twice * scale.square()).sum() / steps
    return torch.fft.irfft(spectrum, n=steps, dim=-2) / variance.sqrt()
