"""Datasets in blocks of several actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_windows import SPEC, episode
from world_model.data import Episode
from world_model.data.action_blocks import in_blocks
from world_model.data.recorded import RecordedDataset
from world_model.types import ActionSpec


class Reader:
    """Two episodes of 11 and 4 actions; frame t shows t, action t holds (t, id), rewards are 1."""

    random_access = True
    lengths = (11, 4)

    def action_spec(self) -> ActionSpec:
        return SPEC

    def fps(self) -> float:
        return 10.0

    def ids(self) -> list[int]:
        return [0, 1]

    def name(self, index: int) -> str:
        return f"e{index}"

    def num_frames(self, index: int) -> int:
        return self.lengths[index] + 1

    def read(self, index: int, start: int, stop: int) -> Episode:
        whole = episode(index, self.lengths[index])
        ends = np.arange(self.lengths[index]) == 8
        values = {**vars(whole), "rewards": np.ones(len(whole), np.float32), "terminations": ends}
        return Episode(**values).part(start, stop)

    def fingerprint(self) -> str:
        return "f"


@pytest.fixture
def recorded() -> RecordedDataset:
    split = {"train": [0], "validation": [1], "test": []}
    return RecordedDataset(Path("here"), "minari", Reader(), SPEC, 10.0, split)


def test_every_phase_of_an_episode_is_an_episode(recorded: RecordedDataset) -> None:
    blocks = in_blocks(recorded, 3)
    assert blocks.ids("train") == [0, 1, 2] and blocks.ids("validation") == [3, 4] and blocks.ids("test") == []
    assert [blocks.num_frames(index) for index in blocks.ids()] == [4, 4, 4, 2, 2]
    assert blocks.fps == pytest.approx(10 / 3) and blocks.action_block == 3
    assert blocks.fingerprint != recorded.fingerprint and blocks.name(4) == "e1+1"
    for index, phase in ((0, 0), (1, 1), (2, 2)):
        found = blocks.read(index)
        assert found.frames[:, 0, 0, 0].tolist() == [phase, phase + 3, phase + 6, phase + 9]
        assert found.actions.shape == (3, 3, 2) and found.id == index
        assert found.actions[:, :, 0].flatten().tolist() == list(range(phase, phase + 9))
        assert found.rewards.tolist() == [3.0] * 3


def test_parts_and_endings_within_a_block(recorded: RecordedDataset) -> None:
    found = in_blocks(recorded, 3).read(1, 1, 4)
    assert found.frames[:, 0, 0, 0].tolist() == [4, 7, 10]
    assert found.terminations.tolist() == [False, True]  # step 8 of the recording is in the block 7, 8, 9


def test_action_specs_of_blocks(recorded: RecordedDataset) -> None:
    assert in_blocks(recorded, 1) is recorded
    spec = in_blocks(recorded, 3).action_spec
    assert spec.shape == (3, 2) and spec.size == 6 and spec.high == (1.0,) * 6
    native = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    assert np.array_equal(spec.to_native(spec.to_tensor(native)), native)
    keys = ActionSpec("discrete", nvec=(4,), start=(1,), dtype="int64").block(2)
    assert keys.kind == "multi_discrete" and keys.nvec == (4, 4) and keys.start == (1, 1) and keys.shape == (2,)
    assert ActionSpec("multi_binary", (6,)).block(2).shape == (2, 6)
    with pytest.raises(ValueError, match="action_block: expected 1 or more, got 0"):
        in_blocks(recorded, 0)
