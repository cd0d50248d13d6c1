"""Between the uint8 frames users see and the float frames the world model sees; and the check frames pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from world_model.data.transforms import Letterbox


def to_model(frames: np.ndarray, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 ``[... h w 3]`` to float ``[... 3 h w]`` in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pixels.movedim(-1, -3).to(dtype).div_(127.5).sub_(1.0)


def to_pixels(frames: Tensor) -> np.ndarray:
    """Float ``[... 3 h w]`` in [-1, 1] to uint8 ``[... h w 3]``."""
    pixels = frames.float().add(1.0).mul_(127.5).round_().clamp_(0.0, 255.0).to(torch.uint8)
    return pixels.movedim(-3, -1).contiguous().cpu().numpy()


@dataclass(frozen=True)
class FrameFit:
    """Brings frames from outside to the model's size, or says why they cannot be.

    Attributes:
        frame_size: Height and width that the model sees.
        letterbox: Applied to frames of any other size; ``None`` refuses them.
    """

    frame_size: tuple[int, int]
    letterbox: Letterbox | None = None

    def __call__(self, frames: Any, what: str, forms: tuple[str, ...]) -> np.ndarray:
        """Checked frames of the right size; see :func:`check_frames`."""
        array = np.asarray(frames)
        if self.letterbox is not None and array.ndim >= 3 and array.shape[-3:-1] != self.frame_size:
            array = check_frames(array, what, forms, (array.shape[-3], array.shape[-2]))
            array = self.letterbox(torch.from_numpy(np.array(array))).numpy()
        return check_frames(array, what, forms, self.frame_size)


def check_frames(frames: Any, what: str, forms: tuple[str, ...], frame_size: tuple[int, int]) -> np.ndarray:
    """Return ``frames`` as an array if it is uint8 and has one of the shapes in ``forms``, such as ``"t h w 3"``.

    Raises:
        ValueError: Anything else; the message starts with ``what``.
    """
    array = np.asarray(frames)
    height, width = frame_size
    if array.dtype != np.uint8:
        raise ValueError(f"{what}: expected dtype uint8 (0 to 255), got {array.dtype}")
    if array.ndim not in [len(form.split()) for form in forms] or array.shape[-3:] != (height, width, 3):
        shapes = " or ".join(f"[{form}]" for form in forms)
        raise ValueError(
            f"{what}: expected shape {shapes} with h={height}, w={width}, got {array.shape}; "
            "resize the images to the world model's frame size"
        )
    if 0 in array.shape:
        raise ValueError(f"{what}: expected at least one frame, got shape {array.shape}")
    return array
