"""Colours and position of training clips varied a little, the same for all frames of a clip.

It belongs before letterboxing: bars are to stay black and in place. It runs on whole batches and on any device, with
one generator, so that a training step decides alone what its clips look like.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in brightness


@dataclass(frozen=True)
class Augmentation:
    """Call it with uint8 clips `[b t h w 3]` and a CPU generator.

    Attributes:
        jitter: brightness, contrast and saturation each get a factor in [1 - jitter, 1 + jitter], drawn per clip.
        hue: colours are turned by a share of the colour circle in [-hue, hue], drawn per clip.
        shift: pixels that a clip is moved by at most along each axis; edges are mirrored.
    """

    jitter: float = 0.1
    hue: float = 0.05
    shift: int = 2

    def __post_init__(self) -> None:
        if not (0 <= self.jitter < 1 and 0 <= self.hue <= 0.5 and self.shift >= 0):
            raise ValueError(
                "augmentation: expected 0 <= jitter < 1, 0 <= hue <= 0.5 and shift >= 0, got "
                f"{self.jitter}, {self.hue} and {self.shift}"
            )

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return bool(self.jitter or self.hue or self.shift)

    def __call__(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 `[b t h w 3]` to uint8 `[b t h w 3]`."""
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[-1] != 3:
            raise ValueError(f"clips: expected uint8 [b t h w 3], got {clips.dtype} {list(clips.shape)}")
        factors = 1 + self.jitter * (2 * torch.rand(3, len(clips), generator=generator) - 1)
        turns = self.hue * (2 * torch.rand(len(clips), generator=generator) - 1)
        corners = torch.randint(2 * self.shift + 1, (len(clips), 2), generator=generator)
        pixels = rearrange(clips, "b t h w c -> b t c h w").float() / 255
        brightness, contrast, saturation = factors.to(pixels)[..., None, None, None, None]
        pixels = (pixels * brightness).clamp(0, 1)
        pixels = _blend(pixels, _grey(pixels).mean(dim=(-2, -1), keepdim=True), contrast)
        pixels = _blend(pixels, _grey(pixels), saturation)
        pixels = turn_hue(pixels, turns.to(pixels)[:, None, None, None])
        pixels = _shifted(pixels, self.shift, corners.tolist())
        return rearrange((pixels * 255).round().clamp(0, 255).to(torch.uint8), "b t c h w -> b t h w c")


def turn_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Colours `[... 3 h w]` in [0, 1] with their hue turned by `turns` of a full circle; value and chroma stay.

    A colour is its largest channel minus the chroma times a trapezoid of the hue that differs between the channels by
    a third of the circle, so no colour space has to be left and entered.
    """
    value, lowest = pixels.amax(dim=-3), pixels.amin(dim=-3)
    chroma = value - lowest
    red, green, blue = pixels.unbind(-3)
    safe = chroma.clamp_min(1e-8)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sixth + 6 * turns
    channels = []
    for offset in (5.0, 3.0, 1.0):
        place = (hue + offset) % 6
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=-3)


def _grey(pixels: Tensor) -> Tensor:
    return (pixels * pixels.new_tensor(GREY)[:, None, None]).sum(dim=-3, keepdim=True)


def _blend(pixels: Tensor, towards: Tensor, factor: Tensor) -> Tensor:
    return (factor * pixels + (1 - factor) * towards).clamp(0, 1)


def _shifted(pixels: Tensor, reach: int, corners: list[list[int]]) -> Tensor:
    """Clips `[b t c h w]`, each cut at its corner out of itself with `reach` mirrored pixels around."""
    if not reach:
        return pixels
    height, width = pixels.shape[-2:]
    flat = rearrange(pixels, "b t c h w -> b (t c) h w")
    padded = F.pad(flat, (reach, reach, reach, reach), mode="reflect")
    cut = [clip[:, top : top + height, left : left + width] for clip, (top, left) in zip(padded, corners, strict=True)]
    return torch.stack(cut).reshape(pixels.shape)
