"""Where imagined episodes start: recorded clips or single images."""

from __future__ import annotations

import zipfile
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from v2w_env.config import check_choice
from world_model.types import ActionSpec

if TYPE_CHECKING:
    from world_model.data import RecordedDataset


@dataclass(frozen=True, eq=False)
class Start:
    """One episode's beginning.

    Attributes:
        frames: uint8 ``[t h w 3]``, oldest first; the last one is the first observation. Any ``t >= 1``.
        actions: ``[t-1 *shape]`` in the simulator's units; ``actions[i]`` leads from frame ``i`` to ``i + 1``.
        info: What ``reset`` reports, for example ``{"reset_source": "episodes", "reset_clip": 3}``.
    """

    frames: np.ndarray
    actions: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class ResetSource(Protocol):
    """Draws starts. Must hold no state that changes: all randomness comes from ``rng``."""

    def sample(self, rng: np.random.Generator) -> Start:
        """Draw one start with the sub-environment's own generator."""
        ...


class EpisodeSource:
    """Starts in recorded clips.

    Args:
        frames: uint8 ``[n t h w 3]``.
        actions: ``[n t-1 *shape]`` in the simulator's units.
        context_frames: Frames handed to the model; shorter clips are used whole.
        start: ``"random"`` draws where in the clip the context begins, ``"first"`` takes its first frames.
    """

    def __init__(
        self,
        frames: np.ndarray,
        actions: np.ndarray,
        context_frames: int,
        start: Literal["random", "first"] = "random",
    ) -> None:
        check_choice("start", start, ("random", "first"))
        if frames.ndim != 5 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise ValueError(f"reset clips: expected uint8 frames [n t h w 3], got {frames.dtype} {frames.shape}")
        if actions.shape[:2] != (frames.shape[0], frames.shape[1] - 1):
            raise ValueError(
                f"reset clips: {frames.shape[0]} clips of {frames.shape[1]} frames need actions "
                f"[{frames.shape[0]} {frames.shape[1] - 1} ...], got {actions.shape}"
            )
        self.frames, self.actions, self.start = frames, actions, start
        self.context_frames = min(context_frames, frames.shape[1])

    @classmethod
    def from_file(cls, path: str | Path, context_frames: int) -> EpisodeSource:
        """Read an ``episodes.npz`` with the arrays ``frames`` and ``actions``.

        Raises:
            ValueError: The file is missing, is not a readable npz, or lacks an array; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["frames"], arrays["actions"], context_frames)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"reset clips {path}: expected an .npz of uint8 'frames' [n t h w 3] and 'actions' [n t-1 ...]: {error}"
            ) from error

    def sample(self, rng: np.random.Generator) -> Start:
        clip = int(rng.integers(len(self.frames)))
        offset = 0 if self.start == "first" else int(rng.integers(self.frames.shape[1] - self.context_frames + 1))
        stop = offset + self.context_frames
        info = {"reset_source": "episodes", "reset_clip": clip, "reset_offset": offset}
        return Start(self.frames[clip, offset:stop], self.actions[clip, offset : stop - 1], info)


class DatasetSource:
    """Starts in the episodes of a dataset on disk, read as they are drawn.

    Args:
        recorded: Any dataset that :func:`world_model.data.open_dataset` opens.
        context_frames: Frames handed to the model; shorter episodes are used whole.
        part: Episodes of this part of the split; ``None`` for all.
    """

    def __init__(self, recorded: RecordedDataset, context_frames: int, part: str | None = "validation") -> None:
        self.recorded, self.context_frames = recorded, context_frames
        self.ids = recorded.ids(part) or recorded.ids(None)

    @classmethod
    def from_folder(cls, folder: Path, context_frames: int, spec: ActionSpec) -> DatasetSource:
        """Open a dataset folder of any known format.

        Raises:
            ValueError: It is none, or its actions are not the model's.
        """
        from world_model.data import open_dataset

        recorded = open_dataset(folder)
        if recorded.action_spec.shape != spec.shape:
            raise ValueError(
                f"reset_source {folder}: expected actions of shape {spec.shape}, got {recorded.action_spec.shape}"
            )
        return cls(recorded, context_frames)

    def sample(self, rng: np.random.Generator) -> Start:
        index = self.ids[int(rng.integers(len(self.ids)))]
        length = self.recorded.num_frames(index)
        context = min(self.context_frames, length)
        # After an episode's last frame there is nothing to play.
        offset = int(rng.integers(max(1, length - context)))
        episode = self.recorded.read(index, offset, offset + context)
        info = {"reset_source": "dataset", "reset_episode": index, "reset_offset": offset}
        return Start(episode.frames, episode.actions, info)


class ImageSource:
    """Starts from a still image: a context of one frame, or the image repeated as if nothing had moved.

    Args:
        images: uint8 ``[n h w 3]``.
        spec: The world model's action spec.
        repeat: Number of context frames made of the image.
        action: ``[*shape]``, the action between repeated frames; default the valid action nearest to zero.
    """

    def __init__(self, images: np.ndarray, spec: ActionSpec, repeat: int = 1, action: np.ndarray | None = None) -> None:
        if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
            raise ValueError(f"reset images: expected uint8 [n h w 3], got {images.dtype} {images.shape}")
        if repeat < 1:
            raise ValueError(f"reset images: repeat must be >= 1, got {repeat}")
        if action is None and spec.kind == "box":
            flat = np.clip(np.zeros(spec.size), spec.low, spec.high).astype(spec.dtype)
            action = flat.reshape(spec.shape)
        elif action is None:
            first = np.asarray(spec.start or (0,) * spec.size, spec.dtype)
            action = first.reshape(spec.shape)
        self.images, self.repeat = images, repeat
        self.actions = np.repeat(np.asarray(action)[None], repeat - 1, axis=0)

    def with_images(self, images: np.ndarray) -> ImageSource:
        """The same source over other images ``[n h w 3]``."""
        other = copy(self)
        other.images = images
        return other

    def sample(self, rng: np.random.Generator) -> Start:
        index = int(rng.integers(len(self.images)))
        frames = np.repeat(self.images[index][None], self.repeat, axis=0)
        return Start(frames, self.actions, {"reset_source": "images", "reset_image": index})
