"""Datasets with a mirrored copy of every training episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_action_blocks import Reader
from tests.data.test_windows import SPEC
from world_model.data import Episode
from world_model.data.action_blocks import in_blocks
from world_model.data.mirroring import action_mirror, mirrored
from world_model.data.recorded import RecordedDataset
from world_model.types import ActionSpec

KEYS = ActionSpec("discrete", nvec=(3,), start=(1,), dtype="int64")


class Halves(Reader):
    """Two episodes of 4 actions; the left half of a frame is dark, the right half bright."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec

    def action_spec(self) -> ActionSpec:
        return self.spec

    def num_frames(self, index: int) -> int:
        return 5

    def read(self, index: int, start: int, stop: int) -> Episode:
        frames = np.zeros((5, 2, 4, 3), np.uint8)
        frames[:, :, 2:] = 200
        actions = np.array([1, 2, 3, 2]) if self.spec.kind == "discrete" else np.full((4, 2), 0.25, np.float32)
        ends = np.arange(4) == 3
        episode = Episode(frames, actions, np.arange(4, dtype=np.float32), ends, np.zeros(4, bool), index)
        return episode.part(start, stop)


def recording(spec: ActionSpec) -> RecordedDataset:
    split = {"train": [1], "validation": [0], "test": []}
    return RecordedDataset(Path("here"), "minari", Halves(spec), spec, 10.0, split)


def test_training_episodes_are_there_twice_and_the_others_once() -> None:
    found = mirrored(recording(KEYS), [1, 3, 2])
    assert found.ids("train") == [2, 3] and found.ids("validation") == [0] and found.ids("test") == []
    assert [found.name(index) for index in found.ids()] == ["e0", "e0+mirrored", "e1", "e1+mirrored"]
    plain, other = found.read(2), found.read(3)
    assert plain.frames[0, 0, :, 0].tolist() == [0, 0, 200, 200]
    assert other.frames[0, 0, :, 0].tolist() == [200, 200, 0, 0]
    assert plain.actions.tolist() == [1, 2, 3, 2] and other.actions.tolist() == [1, 3, 2, 3]
    assert (plain.id, other.id) == (2, 3)
    assert np.array_equal(plain.rewards, other.rewards) and np.array_equal(plain.terminations, other.terminations)
    assert found.fingerprint != recording(KEYS).fingerprint != mirrored(recording(KEYS), [1, 2, 3]).fingerprint


def test_continuous_actions_turn_about_the_middle_of_their_bounds_and_blocks_come_after() -> None:
    found = in_blocks(mirrored(recording(SPEC), [-1.0, 1.0]), 2)
    assert len(found.ids("train")) == 4 and len(found.ids("validation")) == 2
    last = found.read(found.ids("train")[-1])
    assert last.frames[0, 0, :, 0].tolist() == [200, 200, 0, 0]
    assert last.actions.dtype == np.float32 and last.actions[0].tolist() == [[0.75, 0.25], [0.75, 0.25]]


def test_actions_without_bounds_turn_about_zero() -> None:
    free = ActionSpec("box", shape=(2,), low=(-np.inf, 0.0), high=(np.inf, np.inf))
    assert mirrored(recording(free), [-1.0, -1.0]).read(3).actions[0].tolist() == [-0.25, -0.25]


@pytest.mark.parametrize("actions", [[1, 2], [1, 1, 2], [2, 3, 1], [0, 2, 1]])
def test_discrete_actions_need_a_mirror_that_undoes_itself(actions: list[float]) -> None:
    with pytest.raises(ValueError, match=r"mirror: .*\[1, 2, 3\]"):
        action_mirror(KEYS, actions)


def test_other_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="factor for each of the 2 values"):
        action_mirror(SPEC, [1.0])
    with pytest.raises(ValueError, match="multi_discrete"):
        action_mirror(KEYS.block(2), [1.0, 2.0])
