"""Where the pixels of an environment come from: its own image observation, else its renderer."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from world_model.data.episode import IMAGE_KEYS

Frame = NDArray[np.uint8]


class FrameSource:
    """Turns each observation of `env` into one uint8 [h w 3] frame.

    The environment's own image observation is used where there is one (a uint8 Box [h w 3], or such an entry named
    "pixels", "image" or "screen" of a Dict); otherwise it is rendered, which needs `render_mode="rgb_array"`.

    Args:
        env: the environment to look at.
        frame_size: (height, width) of the frames, or None to keep what the environment gives.

    Raises:
        ValueError: if the environment has neither an image observation nor an rgb_array renderer.
    """

    def __init__(self, env: gym.Env, frame_size: tuple[int, int] | None) -> None:
        self.env = env
        self.frame_size = frame_size
        self.key = image_key(env.observation_space)
        if self.key is None and env.render_mode != "rgb_array":
            raise ValueError(
                f"{env} gives no image: expected an observation space uint8 [h w 3], a Dict with such an entry "
                f"named one of {IMAGE_KEYS}, or render_mode='rgb_array'; got {env.observation_space} and "
                f"render_mode={env.render_mode!r}"
            )

    def __call__(self, observation: Any) -> Frame:
        """The frame (uint8 [h w 3]) that belongs to `observation`, the newest one of the environment."""
        image: Any
        if self.key is None:
            image = self.env.render()
        else:
            image = observation[self.key] if self.key else observation
        frame = np.asarray(image)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"expected a uint8 frame [h w 3] from {self.env}, got {frame.dtype} {frame.shape}")
        return resize(frame, self.frame_size)


def image_key(space: gym.Space) -> str | None:
    """Where `space` holds an image: "" for the observation itself, a key of a Dict, or None if it holds none."""
    if _is_image(space):
        return ""
    if isinstance(space, gym.spaces.Dict):
        for key in IMAGE_KEYS:
            if key in space.spaces and _is_image(space.spaces[key]):
                return key
    return None


def resize(frame: Frame, size: tuple[int, int] | None) -> Frame:
    """`frame` [h w 3] at `size` (height, width), antialiased; always a copy, never a view into the environment."""
    if size is None or frame.shape[:2] == tuple(size):
        return np.array(frame, dtype=np.uint8, order="C")
    planes = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    planes = functional.interpolate(planes, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return planes[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _is_image(space: gym.Space) -> bool:
    return (
        isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3
    )
