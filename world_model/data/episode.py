"""One recorded episode, checked once so that nothing after it has to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE_KEYS = ("pixels", "image")  # what the image may be called where observations are dictionaries


@dataclass(frozen=True)
class Episode:
    """An episode of T actions and T+1 frames; `actions[t]` leads from frame t to frame t+1.

    Attributes:
        frames: uint8 [T+1 h w 3].
        actions: native actions [T, *shape].
        rewards: float32 [T].
        terminations: bool [T].
        truncations: bool [T].
        id: number of the episode in its dataset.
        infos: arrays [T+1, ...] recorded beside the frames.

    Raises:
        ValueError: if an array has another type or length.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    id: int
    infos: dict[str, NDArray[Any]] | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise ValueError(
                f"episode {self.id}, frames: expected uint8 [T+1 h w 3], got {self.frames.dtype} {self.frames.shape}"
            )
        lengths = {
            "actions": len(self.actions),
            "rewards": len(self.rewards),
            "terminations": len(self.terminations),
            "truncations": len(self.truncations),
        }
        for name, length in lengths.items():
            if length != len(self.frames) - 1:
                raise ValueError(
                    f"episode {self.id}, {name}: expected one per step, {len(self.frames) - 1} for "
                    f"{len(self.frames)} frames, got {length}"
                )

    def __len__(self) -> int:
        """Number of actions T."""
        return len(self.actions)
