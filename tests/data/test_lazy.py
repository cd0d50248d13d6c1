"""Episodes that are not all in memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.test_windows import SPEC, episode
from world_model.data import ClipDataset, Episode, LazyEpisodes


class Source:
    """Four episodes; writes down what is read."""

    def __init__(self, random_access: bool) -> None:
        self.random_access = random_access
        self.reads: list[tuple[int, int, int | None]] = []

    @property
    def reader(self) -> Source:
        return self

    def num_frames(self, index: int) -> int:
        return 5 + index

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Episode:
        self.reads.append((index, start, stop))
        return episode(index, 4 + index).part(start, 5 + index if stop is None else stop)


def test_lengths_need_no_reading() -> None:
    source = Source(random_access=False)
    lazy = LazyEpisodes(source, [3, 1])
    assert len(lazy) == 2 and [lazy.num_frames(i) for i in range(2)] == [8, 6] and lazy.id(0) == 3
    ClipDataset(lazy, SPEC, window=4)
    assert source.reads == []


def test_no_more_than_so_many_stay_in_memory() -> None:
    source = Source(random_access=False)
    lazy = LazyEpisodes(source, [0, 1, 2], cached=2)
    for position in (0, 1, 0, 1, 2, 1, 0):
        assert lazy[position].id == position
    assert [index for index, _, _ in source.reads] == [0, 1, 2, 0]  # 0 made room for 2


def test_parts_are_read_alone_only_where_that_is_cheaper() -> None:
    whole, part = Source(random_access=False), Source(random_access=True)
    for source, expected in ((whole, [(2, 0, None)]), (part, [(2, 1, 4), (2, 2, 5)])):
        lazy = LazyEpisodes(source, [2])
        assert lazy.part(0, 1, 4).frames[:, 0, 0, 0].tolist() == [1, 2, 3]
        assert lazy.part(0, 2, 5).actions[:, 0].tolist() == [2, 3]
        assert source.reads == expected


def test_clips_are_those_of_episodes_in_memory() -> None:
    lazy = ClipDataset(LazyEpisodes(Source(random_access=True), [0, 2, 3]), SPEC, window=4)
    held = ClipDataset([episode(0, 4), episode(2, 6), episode(3, 7)], SPEC, window=4)
    assert len(lazy) == len(held)
    for i in range(len(held)):
        assert lazy[i]["episode"] == held[i]["episode"] and lazy[i]["start"] == held[i]["start"]
        assert np.array_equal(lazy[i]["frames"], held[i]["frames"])
        assert np.array_equal(lazy[i]["actions"], held[i]["actions"])


def test_nothing_is_kept() -> None:
    with pytest.raises(ValueError, match="cached: expected 1 or more"):
        LazyEpisodes(Source(True), [0], cached=0)
