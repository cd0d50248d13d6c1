"""A dataset seen at every k-th frame, the k actions between two of them taken as one: fewer, longer steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from world_model.data.episode import Episode
from world_model.data.recorded import EpisodeReader, RecordedDataset
from world_model.types import ActionSpec


def in_blocks(recorded: RecordedDataset, length: int) -> RecordedDataset:
    """The same recordings in blocks of `length` actions; native actions get the shape `[T, length, *shape]`.

    An episode can be cut into blocks from its first frame, its second, and so on: each of these `length` phases counts
    as an episode of its own, so that no frame is lost. All phases of an episode stay in its part of the split. Rewards
    are summed over a block. Actions left over at an episode's end, too few for a block, are left out.

    Raises:
        ValueError: for a length below 1.
    """
    spec = recorded.action_spec.block(length)
    if length == 1:
        return recorded
    reader = BlockReader(recorded.reader, length)
    split = {part: [phase for index in ids for phase in reader.phases(index)] for part, ids in recorded.split.items()}
    return replace(
        recorded,
        reader=reader,
        action_spec=spec,
        fps=recorded.fps / length,
        split=split,
        action_block=recorded.action_block * length,
    )


class BlockReader:
    """Episodes of another reader in blocks; episode `index * length + phase` begins at its frame `phase`."""

    def __init__(self, reader: EpisodeReader, length: int) -> None:
        self.reader = reader
        self.length = length
        self.random_access = reader.random_access

    def phases(self, index: int) -> list[int]:
        """Ids of an episode's phases that have a block at least."""
        frames = self.reader.num_frames(index)
        return [index * self.length + phase for phase in range(self.length) if frames > self.length + phase]

    def action_spec(self) -> ActionSpec:
        return self.reader.action_spec().block(self.length)

    def fps(self) -> float:
        return self.reader.fps() / self.length

    def ids(self) -> list[int]:
        return [phase for index in self.reader.ids() for phase in self.phases(index)]

    def name(self, index: int) -> str:
        return f"{self.reader.name(index // self.length)}+{index % self.length}"

    def num_frames(self, index: int) -> int:
        return (self.reader.num_frames(index // self.length) - 1 - index % self.length) // self.length + 1

    def read(self, index: int, start: int, stop: int) -> Episode:
        source, phase = divmod(index, self.length)
        first, last = phase + start * self.length, phase + (stop - 1) * self.length
        part = self.reader.read(source, first, last + 1)
        blocks = stop - start - 1

        def blocked(values: np.ndarray) -> np.ndarray:
            return values.reshape(blocks, self.length, *values.shape[1:])

        return Episode(
            frames=part.frames[:: self.length],
            actions=blocked(part.actions),
            rewards=blocked(part.rewards).sum(1, dtype=np.float32),
            terminations=np.any(blocked(part.terminations), axis=1),
            truncations=np.any(blocked(part.truncations), axis=1),
            id=index,
            infos=_every(part.infos, self.length) if part.infos else None,
        )

    def fingerprint(self) -> str:
        return f"{self.reader.fingerprint()} in blocks of {self.length}"


def _every(infos: dict[str, Any], length: int) -> dict[str, Any]:
    return {
        name: _every(value, length) if isinstance(value, dict) else value[::length] for name, value in infos.items()
    }
