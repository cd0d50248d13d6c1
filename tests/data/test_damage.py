"""Damaged, foreign and malicious files are refused with their name, in every format."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.data.writers import (
    CAMERA,
    WRITERS,
    counted_actions,
    grey_frames,
    write_film,
    write_lerobot,
    write_recordings,
    write_rt1,
)
from world_model.data import DatasetConfig, open_dataset

LENGTHS = (5, 6, 5)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    return {name: write(folder / name, LENGTHS) for name, write in WRITERS.items()}


@pytest.fixture
def copy(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(originals[name], tmp_path / name))


class Malicious:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def cut(path: Path, kept: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])


FILES = {
    "rt1": "train_eps_00000001.npz",
    "csgo": "hdf5_dm_july2021_1.hdf5",
    "recon": "jackal_1/traj_data.pkl",
    "recordings": "000000001.mp4",
    "lerobot": "data/chunk-000/file-000.parquet",
}


@pytest.mark.parametrize("content", ["nothing", "half", "another format"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copy: Callable[[str], Path], name: str, content: str) -> None:
    folder = copy(name)
    path = folder / FILES[name]
    if content == "another format":
        path.write_text("These are not the frames you are looking for. " * 50)
    else:
        cut(path, 0.0 if content == "nothing" else 0.5)
    with pytest.raises(ValueError, match=path.name):
        open_dataset(folder).episode(1)


@pytest.mark.parametrize("name", ["rt1", "csgo", "recon", "recordings"])
def test_damaged_episodes_are_left_out_only_when_asked(copy: Callable[[str], Path], name: str) -> None:
    folder = copy(name)
    cut(folder / FILES[name], 0.5)
    with pytest.warns(UserWarning, match=rf"left out 1 damaged episodes: .*{Path(FILES[name]).name}"):
        dataset = open_dataset(DatasetConfig(str(folder), damaged="skip"))
    assert dataset.ids() == [0, 2]
    for other in (0, 2):
        shutil.rmtree(folder / f"jackal_{other}") if name == "recon" else dataset.reader.path(other).unlink()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="none of 1 episodes can be read"):
        open_dataset(DatasetConfig(str(folder), damaged="skip"))


def test_nothing_to_skip_where_files_are_shared(originals: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="damaged=skip: expected a format with a file per episode, got lerobot"):
        open_dataset(DatasetConfig(str(originals["lerobot"]), damaged="skip"))


# RT-1 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": grey_frames(0, 4)}, "expected arrays 'image' and 'action', got .'image'."),
        ({"image": grey_frames(0, 4)[..., :2], "action": np.zeros((4, 13))}, r"image: expected uint8 \[T h w 3\]"),
        ({"image": np.zeros((4, 8, 8, 3)), "action": np.zeros((4, 13))}, "image: expected uint8 .*got float64"),
        ({"image": grey_frames(0, 4), "action": np.zeros((4, 7))}, r"action: expected \(4, 13\), got \(4, 7\)"),
        ({"image": grey_frames(0, 4), "action": np.zeros((3, 13))}, r"action: expected \(4, 13\), got \(3, 13\)"),
        ({"image": grey_frames(0, 4), "action": np.full((4, 13), np.nan)}, "action: expected finite numbers"),
        ({"image": grey_frames(0, 4), "action": np.zeros((4, 13), object)}, "got Python objects"),
    ],
)
def test_rt1_arrays_of_another_kind(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "train_eps_00000000.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"train_eps_00000000\.npz.*{message}"):
        open_dataset(tmp_path).episode(0)


def test_rt1_damage_inside_an_array(tmp_path: Path) -> None:
    path = write_rt1(tmp_path, [30]) / "train_eps_00000000.npz"
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train_eps_00000000\.npz.*damaged"):
        open_dataset(tmp_path).episode(0)


# Counter-Strike ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("frame_2_x", None, "without a gap|frame_2_x is missing"),
        ("frame_4_y", None, "without a gap"),
        ("frame_2_y", None, "frame_2_y is missing"),
        ("frame_2_y", np.full(51, 0.5), "zeros and ones"),
        ("frame_1_y", np.zeros(50), "shape|51"),
        ("frame_0_x", np.zeros((16, 32, 3), np.float32), "expected frames uint8"),
    ],
)
def test_csgo_of_another_kind(copy: Callable[[str], Path], key: str, value: np.ndarray | None, message: str) -> None:
    folder = copy("csgo")
    with h5py.File(folder / "hdf5_dm_july2021_0.hdf5", "a") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(ValueError, match=message):
        open_dataset(folder).episode(0)


def test_csgo_is_turned_to_red_green_blue(originals: dict[str, Path]) -> None:
    red, green, blue = np.moveaxis(open_dataset(originals["csgo"]).episode(0).frames.astype(int), -1, 0)
    assert (red == green - 1).all() and (blue == green + 1).all()


# RECON ---------------------------------------------------------------------------------------------------------------


def test_a_malicious_pickle_is_refused_and_does_nothing(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("recon")
    marker = tmp_path / "broken_into"
    path = folder / "jackal_0" / "traj_data.pkl"
    path.write_bytes(pickle.dumps({"position": Malicious(marker), "yaw": np.zeros(5)}))
    with pytest.raises(ValueError, match=r"traj_data\.pkl: refused, it asks for (posix|nt)\.system; only numbers"):
        open_dataset(folder).episode(0)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # it would have
    assert marker.exists()


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        ([1, 2], "expected a dictionary with 'position' and 'yaw', got list"),
        ({"position": np.zeros((5, 2))}, r"got \['position'\]"),
        ({"position": np.zeros(5), "yaw": np.zeros(5)}, r"expected position \[T 2\] and yaw \[T\], got \(5,\)"),
        ({"position": np.zeros((5, 2)), "yaw": np.zeros(4)}, r"got \(5, 2\) and \(4,\)"),
        ({"position": np.full((5, 2), np.inf), "yaw": np.zeros(5)}, "expected finite poses"),
        ({"position": "far", "yaw": "left"}, "expected numbers"),
        ({"position": np.zeros((6, 2)), "yaw": np.zeros(6)}, r"5\.jpg: missing, though"),
    ],
)
def test_recon_of_another_kind(copy: Callable[[str], Path], poses: object, message: str) -> None:
    folder = copy("recon")
    (folder / "jackal_0" / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    with pytest.raises(ValueError, match=message):
        open_dataset(folder).episode(0)


def test_recon_images_that_are_none(copy: Callable[[str], Path]) -> None:
    folder = copy("recon")
    cut(folder / "jackal_0" / "3.jpg", 0.3)
    with pytest.raises(ValueError, match=r"3\.jpg: not readable as an image"):
        open_dataset(folder).episode(0)
    assert len(open_dataset(folder).read(0, 0, 3).frames) == 3


# Recordings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": np.zeros((9, 3))}, r"expected a row of actions for each of the 5 frames .* got 9"),
        ({"arr_0": np.zeros(5)}, r"expected numbers \[T a\]"),
        ({"arr_0": np.full((5, 3), np.nan)}, "expected finite numbers"),
        ({"left": np.zeros((5, 3)), "right": np.zeros((5, 3))}, "expected one array of actions"),
        ({"arr_0": np.zeros((5, 4))}, r"expected \[T 4\] as in the other files, got \(6, 3\)"),
        ({"arr_0": np.array([["up"]] * 5)}, r"expected numbers \[T a\]"),
    ],
)
def test_recorded_actions_of_another_kind(
    copy: Callable[[str], Path], arrays: dict[str, np.ndarray], message: str
) -> None:
    folder = copy("recordings")
    np.savez(folder / "000000000.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        open_dataset(folder).num_frames(0)


def test_films_in_fragments_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("recordings")
    write_film(folder / "000000000.mp4", grey_frames(0, 5), extra=["-movflags", "frag_keyframe+empty_moov"])
    with pytest.raises(ValueError, match=r"000000000\.mp4: its index lists no frames, it was written in fragments"):
        open_dataset(folder).num_frames(0)


def test_as_many_actions_as_steps_are_welcome_too(copy: Callable[[str], Path]) -> None:
    folder = copy("recordings")
    np.savez(folder / "000000000.npz", note=np.zeros(2), actions=counted_actions(0, 4, 3))
    dataset = open_dataset(folder)
    assert dataset.episode(0).actions[:, 0].tolist() == [0, 1, 2, 3]
    assert dataset.action_spec.high == (5.0, 2.0, 0.0)


# LeRobot -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("meta/info.json", '"v3.0"', '"v2.1"', "expected a LeRobot dataset of version v3, got v2.1; convert it"),
        ("meta/info.json", '"action"', '"motion"', "expected LeRobot's description"),
        ("meta/info.json", "{", "[", "expected LeRobot's description"),
        ("meta/info.json", '"video"', '"float32"', r"expected camera= one of \[\], got None"),
        ("meta/stats.json", "[0.0, 0.0]", "[0.0]", "expected 2 smallest and largest actions, got 1 and 2"),
        ("meta/stats.json", "[0.0, 0.0]", '"low"', "stats.json: not readable"),
    ],
)
def test_lerobot_descriptions_of_another_kind(
    copy: Callable[[str], Path], file: str, old: str, new: str, message: str
) -> None:
    folder = copy("lerobot")
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        open_dataset(folder)


def test_lerobot_parts_that_are_missing(copy: Callable[[str], Path]) -> None:
    folder = copy("lerobot")
    (folder / "meta" / "stats.json").unlink()
    assert open_dataset(folder).action_spec.low == (-np.inf, -np.inf)
    with pytest.raises(ValueError, match=rf"expected camera= one of \['{CAMERA}'\], got 'wrist'"):
        open_dataset(DatasetConfig(str(folder), camera="wrist"))
    film = folder / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    cut(film, 0.6)
    with pytest.raises(ValueError, match=r"file-000\.mp4: (cannot be decoded|expected 5 frames)"):
        open_dataset(folder).episode(2)
    shutil.rmtree(folder / "meta" / "episodes")
    with pytest.raises(ValueError, match="the dataset is empty"):
        open_dataset(folder)


def test_lerobot_without_pyarrow(originals: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"reading LeRobot datasets needs pyarrow.parquet: pip install .*\[data\]"):
        open_dataset(originals["lerobot"])


def test_lerobot_rewards_and_ends_come_with_their_actions(tmp_path: Path) -> None:
    episode = open_dataset(write_lerobot(tmp_path / "d", LENGTHS, as_images=True)).read(1)
    assert episode.rewards.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0] and not episode.terminations.any()


def test_recordings_with_names_are_numbered(tmp_path: Path) -> None:
    folder = write_recordings(tmp_path / "d", [3, 4])
    for old, new in (("000000000", "pour"), ("000000001", "fold")):
        for suffix in (".mp4", ".npz"):
            (folder / (old + suffix)).rename(folder / (new + suffix))
    dataset = open_dataset(folder)
    assert [(index, dataset.name(index), dataset.num_frames(index)) for index in dataset.ids()] == [
        (0, "fold.mp4", 4),
        (1, "pour.mp4", 3),
    ]
