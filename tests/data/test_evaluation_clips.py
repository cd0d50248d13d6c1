"""Evaluation clips: the documented rules, and the same in every process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.writers import write_csgo, write_rt1
from world_model.data import DatasetConfig, open_dataset
from world_model.data.evaluation_clips import (
    ClipPlace,
    clip_start,
    csgo_clips,
    read_clip,
    rt1_clips,
    stored_starts,
)

ROOT = Path(__file__).parents[2]
LENGTHS = (9, 3, 8, 12, 4, 10, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rt1(tmp_path_factory.mktemp("data") / "rt1", LENGTHS)


def run(code: str, hash_seed: str | None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"PYTHONHASHSEED": hash_seed} if hash_seed else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_a_sample_of_the_sorted_episodes_that_are_long_enough(folder: Path) -> None:
    dataset = open_dataset(folder)
    long_enough = [index for index, length in enumerate(LENGTHS) if length >= 6]
    places = rt1_clips(dataset, num_frames=6, count=3, part=None)
    assert [place.episode for place in places] == random.Random(0).sample(long_enough, 3)
    assert all(0 <= place.start <= LENGTHS[place.episode] - 6 for place in places)
    everything = rt1_clips(dataset, num_frames=6, count=7, part=None)
    assert [place.episode for place in everything] == long_enough
    assert {place.episode: place.start for place in places}.items() <= {
        place.episode: place.start for place in everything
    }.items()


def test_the_start_follows_from_the_name_alone() -> None:
    starts = [clip_start(f"train_eps_{number:08d}.npz", 24) for number in range(500)]
    assert set(starts) == set(range(25)) and max(starts.count(start) for start in range(25)) < 40
    assert starts[:4] == [19, 24, 19, 11]  # changes of these numbers change published results


@pytest.mark.slow
def test_clips_are_the_same_in_every_process(folder: Path) -> None:
    code = (
        "from world_model.data import open_dataset\n"
        "from world_model.data.evaluation_clips import rt1_clips\n"
        f"places = rt1_clips(open_dataset({str(folder)!r}), 6, 3, part=None)\n"
        "print([(place.episode, place.start) for place in places])"
    )
    here = rt1_clips(open_dataset(folder), num_frames=6, count=3, part=None)
    for seed in ("1", "2"):
        assert run(code, seed) == str([(place.episode, place.start) for place in here])


def test_pythons_hash_is_refused_where_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "random"):
        monkeypatch.setenv("PYTHONHASHSEED", value)
        with pytest.raises(ValueError, match=r"starts=python_hash: expected .*PYTHONHASHSEED to be a number, got"):
            clip_start("a", 5, "python_hash")
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert clip_start("a", 5, "python_hash") == random.Random(hash("a")).randint(0, 5)
    with pytest.raises(ValueError, match="expected stable or python_hash"):
        clip_start("a", 5, "hash")  # type: ignore[arg-type]


def test_counter_strike_starts_are_drawn_in_order_or_given(tmp_path: Path) -> None:
    dataset = open_dataset(write_csgo(tmp_path / "csgo", [6, 3, 9, 7]))
    rng = np.random.RandomState(42)
    expected = [ClipPlace(index, int(rng.randint(0, last))) for index, last in ((0, 2), (2, 5), (3, 3))]
    assert csgo_clips(dataset, num_frames=4, part=None) == expected
    assert csgo_clips(dataset, num_frames=4, count=1, part=None) == expected[:1]
    (tmp_path / "starts.json").write_text(json.dumps({f"hdf5_dm_july2021_{index}": index // 2 for index in range(4)}))
    stored = stored_starts(tmp_path / "starts.json")
    assert [place.start for place in csgo_clips(dataset, 4, stored=stored, part=None)] == [0, 1, 1]
    with pytest.raises(ValueError, match=r"expected one within 0 and 3 for hdf5_dm_july2021_3.hdf5, got 9"):
        csgo_clips(dataset, 4, stored=stored | {"hdf5_dm_july2021_3": 9}, part=None)
    with pytest.raises(ValueError, match="got None"):
        csgo_clips(dataset, 4, stored={}, part=None)


def test_counter_strike_starts_are_numpys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dataset = open_dataset(write_csgo(tmp_path / "csgo", [2] * 6))
    monkeypatch.setattr(type(dataset), "num_frames", lambda self, index: 1000)
    starts = [place.start for place in csgo_clips(dataset, part=None)]
    assert starts == np.random.RandomState(42).randint(0, 984, 500)[:6].tolist() == [102, 435, 860, 270, 106, 71]


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": "b"}', None])
def test_lists_of_starts_of_another_kind(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "starts.json").write_text(content)
    with pytest.raises(ValueError, match=r"starts\.json: expected a JSON object"):
        stored_starts(tmp_path / "starts.json")


def test_a_clip_is_read_at_its_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("train_eps_00000003")
    dataset = open_dataset(DatasetConfig(str(folder), validation_list=str(tmp_path / "list.txt")))
    (place,) = rt1_clips(dataset, num_frames=6)
    clip = read_clip(dataset, place, 6)
    assert (clip["episode"], clip["start"]) == (3, place.start)
    assert clip["frames"].shape[0] == 6 and clip["actions"].shape == (5, 13)
    assert clip["actions"][:, 0].tolist() == [place.start + t for t in range(5)]
    with pytest.raises(ValueError, match=r"rt1 \(validation\): expected episodes of 13 frames or more, found none"):
        rt1_clips(dataset, num_frames=13)
