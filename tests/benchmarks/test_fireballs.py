"""Counting fireballs: colours, shares, one step ahead, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fireballs import Clips, FireballsConfig, _measures, fire_pixels, main
from tests.conftest import make_tiny_model
from tests.trainer.outcomes import SIZE, write_outcomes
from world_model.data import read_minari
from world_model.types import ActionSpec

ACTIONS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_outcomes(tmp_path_factory.mktemp("data") / "toy", 10, steps=12)


def test_fire_is_bright_and_red_or_yellow() -> None:
    colours = {"fire": (250, 180, 40), "core": (255, 250, 230), "blood": (200, 20, 20), "wall": (150, 120, 90)}
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    for frame, colour in zip(frames, colours.values(), strict=True):
        frame[2:4, 3:6] = colour
    assert fire_pixels(frames).tolist() == [6, 6, 0, 0]
    assert fire_pixels(frames[None]).shape == (1, 4)


def test_what_stays_and_what_appears() -> None:
    real = np.array([[0, 5, 50, 0, 0], [3, 3, 0, 2, 2]])
    dreamt = np.array([[5, 60, 0, 0], [0, 0, 0, 0]])
    ahead = np.array([[9, 9, 9, 9], [9, 0, 0, 0]])
    found = _measures(real, dreamt, ahead)
    assert found["real_fire"] == 5 / 8 and found["fire"] == 2 / 8 and found["fire_ratio"] == 0.4
    assert found["real_near"] == 1 / 8 and found["near"] == 1 / 8 and found["near_ratio"] == 1
    assert found["kept"] == 2 / 3  # first clip once, second twice: there before and after; the last is lost
    assert found["born"] == 2 / 3 and found["real_born"] == 2 / 3  # of the three frames that follow one without fire


def test_a_report_has_a_row_for_each_number_of_steps(dataset: Path, tmp_path: Path) -> None:
    bundle = make_tiny_model(ACTIONS, (SIZE, SIZE)).save_pretrained(tmp_path / "bundle")
    config = FireballsConfig(
        checkpoint=str(bundle), dataset=str(dataset), split="train", num_sampling_steps=(1, 2), clips=3, horizon=2,
        results=str(tmp_path / "results"),
    )  # fmt: skip
    measures = main(config)
    assert 0 <= measures["fire"] <= 1 and measures["real_fire"] == 1  # the toy is white, which counts as fire too
    written = json.loads((tmp_path / "results" / "fireballs.json").read_text())
    assert set(written["rows"]) == {"1", "2"}
    assert "Shares of frames" in (tmp_path / "results" / "fireballs.md").read_text()


def test_clips_repeat_and_mistakes_are_named(dataset: Path, tmp_path: Path) -> None:
    recorded = read_minari(dataset)
    a, b = (Clips.drawn(recorded, "train", 5, 6, seed=1) for _ in range(2))
    assert a.frames.shape == (5, 6, SIZE, SIZE, 3) and np.array_equal(a.frames, b.frames)
    with pytest.raises(ValueError, match="expected train episodes of at least 99 steps"):
        Clips.drawn(recorded, "train", 1, 99, seed=1)
    with pytest.raises(ValueError, match="clips: expected at least 1, got 0"):
        main(FireballsConfig(clips=0))
    other = make_tiny_model(frame_size=(SIZE, SIZE)).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="has other frames or actions"):
        main(FireballsConfig(checkpoint=str(other), dataset=str(dataset)))
