"""Noise from explicit generators: one for the batch, or one per row so that rows do not depend on each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from world_model.types import Generators


def draw_noise(shape: Sequence[int], generator: Generators, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal float32 noise ``[b ...]``, drawn on the generators' device and moved to ``device``.

    Raises:
        ValueError: if a list of generators does not have one per row.
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, device=generator.device).to(device)
    if len(generator) != shape[0]:
        raise ValueError(f"generator: expected one per batch row ({shape[0]}), got {len(generator)}")
    rows = [torch.randn(*shape[1:], generator=one, device=one.device) for one in generator]
    return torch.stack(rows).to(device)


def noise_like(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise in the shape, type and place of ``like``.

    Args:
        generator: on the CPU. Noise for another device is drawn there, from a seed that this one gives: large batches
            would wait for the CPU otherwise.
    """
    if like.device.type == "cpu":
        return torch.randn(like.shape, generator=generator).to(like)
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=there, device=like.device).to(like)
