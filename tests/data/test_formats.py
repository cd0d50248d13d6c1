"""What every format promises: detected, aligned in time, readable in parts, small in memory, damage named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.writers import FPS, HEIGHT, WIDTH, WRITERS, shade, write_lerobot
from world_model.data import DatasetConfig, RecordedDataset, detect_format, open_dataset

LENGTHS = (5, 7, 6, 5)
SIZES = {"rt1": 13, "csgo": 51, "recon": 3, "recordings": 3, "lerobot": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    return {name: write(folder / name, LENGTHS) for name, write in WRITERS.items()}


@pytest.fixture(params=WRITERS)
def dataset(request: pytest.FixtureRequest, folders: dict[str, Path]) -> RecordedDataset:
    return open_dataset(folders[request.param])


def test_it_is_recognised_and_described(dataset: RecordedDataset) -> None:
    assert detect_format(dataset.path) == dataset.format
    assert dataset.ids() == [0, 1, 2, 3] and len(dataset) == 4
    assert [dataset.num_frames(index) for index in dataset.ids()] == list(LENGTHS)
    assert dataset.frame_size == (HEIGHT, WIDTH)
    assert dataset.action_spec.size == SIZES[dataset.format]
    assert len({dataset.name(index) for index in dataset.ids()}) == 4
    expected = {"rt1": 3.0, "csgo": 16.0, "recon": 4.0, "recordings": FPS, "lerobot": FPS}
    assert dataset.fps == pytest.approx(expected[dataset.format])


def test_an_action_leads_from_its_frame_to_the_next(dataset: RecordedDataset) -> None:
    for episode in dataset.iterate(dataset.ids()):
        length = LENGTHS[episode.id]
        assert episode.frames.shape == (length, HEIGHT, WIDTH, 3) and len(episode) == length - 1
        wanted = [shade(episode.id, t) for t in range(length)]
        assert np.abs(episode.frames.mean((1, 2, 3)) - wanted).max() < 2  # films and photographs are lossy
        assert [_step(dataset, action) for action in episode.actions] == list(range(length - 1))
        assert dataset.action_spec.to_tensor(episode.actions).shape == (length - 1, SIZES[dataset.format])
        assert episode.truncations.tolist() == [False] * (length - 2) + [True]
        assert not episode.terminations.any()


def test_a_part_is_that_part_of_the_whole(dataset: RecordedDataset) -> None:
    whole = dataset.episode(1)
    part = dataset.read(1, 2, 5)
    assert np.array_equal(part.frames, whole.frames[2:5]) and np.array_equal(part.actions, whole.actions[2:4])
    assert not part.truncations.any() and dataset.read(1, 4).truncations.tolist() == [False, True]
    assert len(dataset.read(1, 3, 4)) == 0
    with pytest.raises(ValueError, match=r"episode 1 .*: expected frames within its 7, got 3 to 8"):
        dataset.read(1, 3, 8)


def test_windows_of_episodes_that_are_not_in_memory(dataset: RecordedDataset) -> None:
    dataset.split["train"][:] = dataset.ids()
    clips = dataset.clips("train", window=4)
    assert len(clips) == sum(length - 3 for length in LENGTHS)
    clip = clips[3]
    assert (clip["episode"], clip["start"]) == (1, 1)
    assert torch.equal(clip["frames"], torch.from_numpy(dataset.read(1, 1, 5).frames))
    assert [_step(dataset, action.numpy()) for action in clip["actions"]] == [1, 2, 3]
    batch = next(iter(DataLoader(clips, batch_size=3, shuffle=True)))
    assert batch["frames"].shape == (3, 4, HEIGHT, WIDTH, 3)
    again = pickle.loads(pickle.dumps(clips))  # what worker processes get
    assert torch.equal(again[3]["frames"], clip["frames"])


def test_short_episodes_are_named_and_left_out_only_when_asked(dataset: RecordedDataset) -> None:
    dataset.split["train"][:] = dataset.ids()
    with pytest.raises(ValueError, match=r"2 of 4 episodes are shorter than the window of 6 .*episode 0 with 5.*skip"):
        dataset.clips("train", window=6)
    clips = dataset.clips("train", window=6, short="skip")
    assert clips.skipped_episodes == 2 and {clips[i]["episode"] for i in range(len(clips))} == {1, 2}


def test_frames_in_another_size(dataset: RecordedDataset) -> None:
    small = open_dataset(DatasetConfig(str(dataset.path), frame_size=(8, 8)))
    assert small.frame_size == (8, 8) and small.episode(0).frames.shape == (5, 8, 8, 3)
    assert not small.episode(0).frames[:, :2].any()  # 16x32 becomes 4x8 between black bars
    assert small.fingerprint != dataset.fingerprint


def test_the_split_covers_all_episodes_and_leaves_no_file_behind(dataset: RecordedDataset) -> None:
    before = sorted(dataset.path.rglob("*"))
    split = open_dataset(dataset.path).split
    assert sorted(index for part in split.values() for index in part) == dataset.ids() and all(split.values())
    assert open_dataset(dataset.path).split == split and sorted(dataset.path.rglob("*")) == before


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no dataset known here \(.*train_eps_\*\.npz.*nothing in it"):
        open_dataset(tmp_path)
    for name in ("rt1", "csgo", "recon", "recordings", "lerobot", "minari"):
        with pytest.raises(ValueError, match=str(tmp_path)):
            open_dataset(tmp_path, name)  # type: ignore[arg-type]


def test_a_foreign_a_missing_and_an_ambiguous_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder.*v2w collect"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"the folder has \['notes.txt'\]"):
        open_dataset(tmp_path)
    WRITERS["rt1"](tmp_path / "both", [3])
    WRITERS["csgo"](tmp_path / "both", [3])
    with pytest.raises(ValueError, match="looks like rt1 and like csgo; say which with format="):
        open_dataset(tmp_path / "both")
    assert open_dataset(tmp_path / "both", "csgo").format == "csgo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "hdf"}, "expected auto or one of"),
        ({"frame_size": "big"}, r"expected \[height, width\], native or published"),
        ({"frame_size": "published"}, "expected a dataset of a published model .*, got recordings"),
        ({"damaged": "ignore"}, "expected error or skip"),
        ({"validation_list": "nowhere.txt"}, "nowhere.txt: expected a text file"),
    ],
)
def test_wrong_settings(folders: dict[str, Path], changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_dataset(DatasetConfig(str(folders["recordings"]), **changes))  # type: ignore[arg-type]


def test_a_published_list_of_validation_episodes(folders: dict[str, Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("train_eps_00000002.npz\ntrain_eps_00000000\ntrain_eps_00099999.npz\n\n")
    dataset = open_dataset(DatasetConfig(str(folders["rt1"]), validation_list=str(listed)))
    assert dataset.split == {"train": [1, 3], "validation": [0, 2], "test": []}
    listed.write_text("somebody_else\n")
    with pytest.raises(ValueError, match=r"list.txt: names none of the dataset's 4 episodes; it lists"):
        open_dataset(DatasetConfig(str(folders["rt1"]), validation_list=str(listed)))


def test_a_split_that_lies_beside_the_data_is_taken(tmp_path: Path) -> None:
    folder = WRITERS["rt1"](tmp_path / "rt1", [3] * 4)
    (folder / "split.json").write_text('{"train": [3], "validation": [0, 1], "test": [2]}')
    assert open_dataset(folder).split["validation"] == [0, 1]
    assert open_dataset(WRITERS["rt1"](tmp_path / "two", [3] * 2)).split["train"] == [0, 1]


def test_images_in_parquet_files(folders: dict[str, Path], tmp_path: Path) -> None:
    pictures = open_dataset(write_lerobot(tmp_path / "pictures", LENGTHS, as_images=True))
    film = open_dataset(folders["lerobot"])
    part = pictures.read(2, 1, 4)
    assert part.frames[:, 0, 0, 0].tolist() == [shade(2, t) for t in (1, 2, 3)]
    assert np.array_equal(part.actions, film.read(2, 1, 4).actions)


def _step(dataset: RecordedDataset, action: np.ndarray) -> int:
    """The number of the frame that an action was written with."""
    if dataset.format == "csgo":
        return int(action.argmax())
    if dataset.format == "recon":  # motions of t times 0.25 m are t, and -2.5 to 5 become -1 to 1
        return round(float((action[0] + 1) * 3.75 - 2.5))
    return int(action[0])
