"""Episodes that are read when they are looked at, for datasets larger than memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from world_model.data.episode import Episode


class EpisodeSource(Protocol):
    """What a :class:`LazyEpisodes` reads from; `RecordedDataset` is one."""

    @property
    def reader(self) -> object: ...

    def num_frames(self, index: int) -> int: ...

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Episode: ...


class LazyEpisodes:
    """A sequence of episodes, of which the last few that were looked at stay in memory.

    Args:
        source: where the episodes are read from.
        ids: which ones.
        cached: episodes to keep; every worker process of a `DataLoader` keeps its own.
    """

    def __init__(self, source: EpisodeSource, ids: Sequence[int], cached: int = 8) -> None:
        if cached < 1:
            raise ValueError(f"cached: expected 1 or more episodes, got {cached}")
        self.source = source
        self.ids = list(ids)
        self.cached = cached
        self._kept: OrderedDict[int, Episode] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Episode]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Episode:
        """The whole episode."""
        index = self.ids[position]
        if index in self._kept:
            self._kept.move_to_end(index)
        else:
            self._kept[index] = self.source.read(index)
            if len(self._kept) > self.cached:
                self._kept.popitem(last=False)
        return self._kept[index]

    def id(self, position: int) -> int:
        """Id of an episode, without reading it."""
        return self.ids[position]

    def num_frames(self, position: int) -> int:
        """Frames of an episode, without decoding them where the format allows it."""
        return self.source.num_frames(self.ids[position])

    def part(self, position: int, start: int, stop: int) -> Episode:
        """Frames `start` to `stop - 1` of an episode; no others are read if the format can seek."""
        if self.ids[position] not in self._kept and getattr(self.source.reader, "random_access", False):
            return self.source.read(self.ids[position], start, stop)
        return self[position].part(start, stop)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_kept": OrderedDict()}  # worker processes start empty
