"""Frames of any size in a frame of one size: resized with their shape kept, with black bars around them.

Everything works on uint8 frames. Resizing is bilinear, antialiased where it shrinks, with pixel centres at half
integers, and rounded back to bytes; so one step of grey at most lies between this and resizing in floating point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Letterbox:
    """Crop, resize and pad with black to `height` x `width`; call it with uint8 frames `[... h w 3]`.

    Attributes:
        height, width: of the result.
        content: (height, width) the picture itself is resized to; None for the largest that fits with its shape kept.
        aspect: width over height that the picture is cropped to around its centre beforehand; None leaves it whole.

    Raises:
        ValueError: sizes below 1 or content larger than the result.
    """

    height: int
    width: int
    content: tuple[int, int] | None = None
    aspect: float | None = None

    def __post_init__(self) -> None:
        inner = self.content or (1, 1)
        if not (1 <= inner[0] <= self.height and 1 <= inner[1] <= self.width):
            raise ValueError(
                f"letterbox: expected height and width of 1 or more and content no larger, got {self.height}x"
                f"{self.width} and {self.content}"
            )
        if self.aspect is not None and self.aspect <= 0:
            raise ValueError(f"letterbox aspect: expected a positive number, got {self.aspect}")

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 `[... h w 3]` to uint8 `[... height width 3]`."""
        _check(frames)
        if self.aspect is not None:
            top, left, height, width = _centre_crop(frames.shape[-3], frames.shape[-2], self.aspect)
            frames = frames[..., top : top + height, left : left + width, :]
        box = self._box(frames.shape[-3], frames.shape[-2])
        frames = resize(frames, box.height, box.width)
        below, right = self.height - box.height - box.top, self.width - box.width - box.left
        return F.pad(frames, (0, 0, box.left, right, box.top, below))

    def crop_box(self, height: int, width: int) -> Box:
        """Where the picture lies in the result, for frames recorded at `height` x `width`."""
        if self.aspect is not None:
            _, _, height, width = _centre_crop(height, width, self.aspect)
        return self._box(height, width)

    def _box(self, height: int, width: int) -> Box:
        if self.content is not None:
            rows, columns = self.content
        else:
            scale = min(self.height / height, self.width / width)
            rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        return Box((self.height - rows) // 2, (self.width - columns) // 2, rows, columns)


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels in a frame."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, frames: Tensor) -> Tensor:
        """This part of frames `[... h w 3]`; takes a letterbox's bars away, as the published metrics do."""
        return frames[..., self.top : self.top + self.height, self.left : self.left + self.width, :]


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 `[... h w 3]` to uint8 `[... height width 3]`: bilinear, antialiased where it shrinks."""
    _check(frames)
    if frames.shape[-3:-1] == (height, width):
        return frames
    pixels = rearrange(frames.reshape(-1, *frames.shape[-3:]), "n h w c -> n c h w").float()
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
    resized = rearrange(pixels.round().clamp(0, 255).to(torch.uint8), "n c h w -> n h w c")
    return resized.reshape(*frames.shape[:-3], height, width, 3)


def _centre_crop(height: int, width: int, aspect: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest centred part of a frame with this width over height."""
    rows, columns = min(height, round(width / aspect)), min(width, round(height * aspect))
    return (height - rows) // 2, (width - columns) // 2, max(1, rows), max(1, columns)


def _check(frames: Tensor) -> None:
    if frames.dtype != torch.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"frames: expected uint8 [... h w 3], got {frames.dtype} {list(frames.shape)}")
