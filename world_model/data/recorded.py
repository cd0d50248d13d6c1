"""A dataset on disk, whatever its format: what training and evaluation read, and what a format has to offer.

A format is one module with an :class:`EpisodeReader`. Everything else (splits, letterboxing, windows) is here or behind
:class:`RecordedDataset`, and the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from world_model.data.episode import Episode
from world_model.data.lazy import LazyEpisodes
from world_model.data.split import SPLITS, Split
from world_model.data.transforms import Letterbox
from world_model.data.windows import ClipDataset
from world_model.types import ActionSpec


class EpisodeReader(Protocol):
    """Episodes of one format, read when asked for. Every method raises ValueError with the name of a damaged file.

    Attributes:
        random_access: frames in the middle of an episode can be read for less than all before them.
    """

    random_access: bool

    def action_spec(self) -> ActionSpec:
        """Of the recorded actions."""
        ...

    def fps(self) -> float:
        """Recorded frames per second."""
        ...

    def ids(self) -> list[int]:
        """Ids of all episodes."""
        ...

    def name(self, index: int) -> str:
        """A name of the episode that is the same on every machine, as a rule its file's."""
        ...

    def num_frames(self, index: int) -> int:
        """Frames of the episode, without decoding them where the format allows it."""
        ...

    def read(self, index: int, start: int, stop: int) -> Episode:
        """Frames `start` to `stop - 1` and the actions between them."""
        ...

    def fingerprint(self) -> str:
        """Differs when the recording does; names what is derived from it."""
        ...


@dataclass(frozen=True)
class RecordedDataset:
    """A dataset on disk and its split; episodes are read when asked for.

    Attributes:
        path: folder of the dataset.
        format: name of the format.
        reader: of that format.
        action_spec: of the recorded actions.
        fps: recorded frames per second.
        split: episode ids under "train", "validation" and "test".
        env_id: Gymnasium id of the environment it was recorded in ("" if unknown).
        env_kwargs: what `gymnasium.make` was given.
        frame_skip: steps of the environment per recorded action.
        action_block: recorded actions that are taken as one, see `action_blocks`.
        transform: what frames are resized with on their way in; None leaves them as recorded.
        metadata: what else the dataset says about itself.
    """

    path: Path
    format: str
    reader: EpisodeReader = field(repr=False)
    action_spec: ActionSpec
    fps: float
    split: Split = field(repr=False)
    env_id: str = ""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    frame_skip: int = 1
    action_block: int = 1
    transform: Letterbox | None = None
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.reader.ids())

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames as they are given out."""
        if self.transform is not None:
            return self.transform.height, self.transform.width
        height, width = self.reader.read(self.ids()[0], 0, 1).frames.shape[1:3]
        return height, width

    @property
    def fingerprint(self) -> str:
        """Differs when recording or transform do."""
        return self.reader.fingerprint() + ("" if self.transform is None else repr(self.transform))

    def ids(self, part: str | None = None) -> list[int]:
        """Episode ids of one part of the split, or of the whole dataset (None)."""
        if part is None:
            return self.reader.ids()
        if part not in SPLITS:
            raise ValueError(f"split: expected one of {SPLITS} or None, got {part!r}")
        return self.split[part]

    def name(self, index: int) -> str:
        """Name of an episode, the same on every machine."""
        return self.reader.name(index)

    def num_frames(self, index: int) -> int:
        """Frames of an episode; most formats know it without decoding them."""
        return self.reader.num_frames(index)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Episode:
        """Frames `start` to `stop - 1` of an episode (all without `stop`) and the actions between them.

        Raises:
            ValueError: if the episode does not have these frames, or is damaged; names it.
        """
        last = self.num_frames(index)
        stop = last if stop is None else stop
        if not 0 <= start < stop <= last:
            raise ValueError(
                f"{self.path}, episode {index} ({self.name(index)}): expected frames within its {last}, got {start} to "
                f"{stop}"
            )
        episode = self.reader.read(index, start, stop)
        if self.transform is None:
            return episode
        values = {**vars(episode), "frames": self.transform(torch.from_numpy(episode.frames)).numpy()}
        return Episode(**values)

    def episode(self, index: int) -> Episode:
        """Read one episode."""
        return self.read(index)

    def iterate(self, ids: Iterable[int]) -> Iterator[Episode]:
        """Read episodes one after the other.

        Raises:
            ValueError: if a file is damaged or does not hold frames; names the file and the episode.
        """
        for index in ids:
            yield self.read(index)

    def episodes(self, part: str | None = None) -> list[Episode]:
        """Read all episodes of one part of the split (or of the dataset) into memory."""
        return list(self.iterate(self.ids(part)))

    def lazy_episodes(self, part: str | None = None, cached: int = 8) -> LazyEpisodes:
        """The episodes of one part of the split, of which no more than `cached` are in memory."""
        return LazyEpisodes(self, self.ids(part), cached)

    def clips(self, part: str, window: int, stride: int = 1, short: Literal["error", "skip"] = "error") -> ClipDataset:
        """The windows of one part of the split, read when asked for; see `ClipDataset`."""
        return ClipDataset(self.lazy_episodes(part), self.action_spec, window, stride, short, f"{self.path} ({part})")
