"""Frames as the CLIP image tower wants them: smoothed, resized to a square, and normalised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Mean and standard deviation of the pixels in [0, 1] that CLIP was trained on.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_preprocess(frames: Tensor, size: int = 224) -> Tensor:
    """Normalised squares `[b 3 size size]` of frames `[b 3 h w]` in [-1, 1]; the aspect ratio is not kept.

    The published image encoders were trained behind exactly this resize: a Gaussian blur against aliasing when a side
    shrinks, then bicubic interpolation whose corner samples lie on the frame's corner pixels. Other resizes look the
    same and move the tokens. Half precision comes back as float32.

    Raises:
        ValueError: wrong number of axes or channels, or integers.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise ValueError(
            f"frames: expected floats [b 3 h w] in [-1, 1], got {frames.dtype} {list(frames.shape)}; fold time into "
            "the batch, put channels before height and width, and use frames / 127.5 - 1 for bytes"
        )
    if frames.dtype in (torch.float16, torch.bfloat16):  # the kernel and the interpolation need more digits
        frames = frames.float()
    shrink = [side / size for side in frames.shape[2:]]
    if max(shrink) > 1:
        frames = _blur(_blur(frames, shrink[0], dim=2), shrink[1], dim=3)
    pixels = F.interpolate(frames, size=(size, size), mode="bicubic", align_corners=True) / 2 + 0.5
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    return (pixels - mean) / std


def _blur(frames: Tensor, shrink: float, dim: int) -> Tensor:
    """Gaussian blur along one axis, as wide as the axis will shrink."""
    sigma = max((shrink - 1) / 2, 0.001)
    reach = int(max(4 * sigma, 3)) // 2  # the kernel has 2 * reach + 1 taps
    if frames.shape[dim] <= reach:  # too few pixels to mirror, and the blur of an axis that grows is nothing
        return frames
    offsets = torch.arange(-reach, reach + 1, device=frames.device, dtype=frames.dtype)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    taps = taps / taps.sum()
    if dim == 2:
        kernel, padding = taps[:, None], (0, 0, reach, reach)
    else:
        kernel, padding = taps[None, :], (reach, reach, 0, 0)
    return F.conv2d(F.pad(frames, padding, mode="reflect"), kernel.expand(3, 1, -1, -1), groups=3)
