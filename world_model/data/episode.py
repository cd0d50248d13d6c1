"""One recorded episode, checked once so that nothing after it has to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE_KEYS = ("pixels", "image", "screen")  # what the image may be called where observations are dictionaries


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

    @classmethod
    def from_video(cls, frames: NDArray[np.uint8], actions: NDArray[Any], id: int, complete: bool = True) -> Episode:
        """An episode of a recording that has no rewards: they are zero, and the end of the film cuts it off.

        Args:
            frames: uint8 [T+1 h w 3].
            actions: [T, *shape].
            complete: the last frame is the recording's last one.
        """
        steps = len(frames) - 1
        return cls(
            frames=frames,
            actions=actions,
            rewards=np.zeros(steps, np.float32),
            terminations=np.zeros(steps, np.bool_),
            truncations=(np.arange(steps) == steps - 1) & complete,
            id=id,
        )

    def part(self, start: int, stop: int) -> Episode:
        """Frames `start` to `stop - 1` and the actions between them; views, not copies."""
        steps = slice(start, stop - 1)
        return Episode(
            frames=self.frames[start:stop],
            actions=self.actions[steps],
            rewards=self.rewards[steps],
            terminations=self.terminations[steps],
            truncations=self.truncations[steps],
            id=self.id,
            infos=_cut(self.infos, slice(start, stop)) if self.infos else None,
        )


def _cut(infos: dict[str, Any], frames: slice) -> dict[str, Any]:
    return {name: _cut(value, frames) if isinstance(value, dict) else value[frames] for name, value in infos.items()}
