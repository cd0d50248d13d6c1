"""Reading what `v2w collect` and others recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from world_model.data import SPLITS, DatasetConfig, action_spec, open_dataset, read_minari

BOX = gym.spaces.Box(0, 512, (2,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (4, 5, 3), np.uint8)


def buffer(actions: gym.Space, steps: int, as_dict: bool = False) -> EpisodeBuffer:
    frames: Any = np.arange((steps + 1) * 60, dtype=np.uint8).reshape(steps + 1, 4, 5, 3)
    return EpisodeBuffer(
        observations={"pixels": frames} if as_dict else frames,
        actions=np.stack([actions.sample() for _ in range(steps)]),
        rewards=np.arange(steps, dtype=np.float32),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, np.bool_),
    )


def write(
    folder: Path, episodes: int = 4, actions: gym.Space = BOX, image: gym.Space = IMAGE, facts: Any = None
) -> Path:
    folder.mkdir(parents=True)
    storage = MinariStorage.new(folder / "data", image, actions, jpeg_encoding=False)
    metadata = {"dataset_id": "toy-v0", "minari_version": minari.__version__}
    storage.update_metadata(metadata | ({"v2w": facts} if facts else {}))
    storage.update_episodes([buffer(actions, 6, isinstance(image, gym.spaces.Dict)) for _ in range(episodes)])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    facts = {"env_id": "Toy-v0", "env_kwargs": {"size": 3}, "fps": 5.0, "frame_skip": 2}
    return write(tmp_path / "toy", facts=facts)


def test_facts_episodes_and_clips(folder: Path) -> None:
    dataset = read_minari(folder)
    assert (dataset.env_id, dataset.env_kwargs, dataset.fps, dataset.frame_skip) == ("Toy-v0", {"size": 3}, 5.0, 2)
    assert len(dataset) == 4 and dataset.frame_size == (4, 5) and dataset.ids() == [0, 1, 2, 3]
    assert sorted(index for part in SPLITS for index in dataset.ids(part)) == [0, 1, 2, 3]
    episode = dataset.episode(2)
    assert episode.id == 2 and len(episode) == 6 and episode.frames.shape == (7, 4, 5, 3)
    assert episode.rewards.dtype == np.float32 and episode.terminations.tolist() == [False] * 5 + [True]
    clips = dataset.clips("train", window=7)
    assert len(clips) == 2 and {clips[0]["episode"], clips[1]["episode"]} == set(dataset.split["train"])


def test_it_is_one_format_among_others(folder: Path) -> None:
    recorded, dataset = read_minari(folder), open_dataset(folder)
    assert dataset.format == "minari" and dataset.split == recorded.split and dataset.env_id == "Toy-v0"
    assert [dataset.num_frames(index) for index in dataset.ids()] == [7] * 4
    part, whole = dataset.read(1, 2, 5), recorded.episode(1)
    assert np.array_equal(part.frames, whole.frames[2:5]) and part.rewards.tolist() == [2, 3]
    small = open_dataset(DatasetConfig(str(folder), frame_size=(8, 8)))
    assert small.frame_size == (8, 8) and small.episode(1).frames.shape == (7, 8, 8, 3)
    assert len({recorded.fingerprint, small.fingerprint, dataset.fingerprint}) == 2


def test_split_is_written_beside_the_data_and_kept(folder: Path) -> None:
    first = read_minari(folder, split_seed=0).split
    assert (folder / "split.json").exists()
    assert read_minari(folder / "data", split_seed=9).split == first
    with pytest.raises(ValueError, match="split: expected one of"):
        read_minari(folder).ids("testing")


def test_foreign_minari_dataset_with_an_image_in_a_dict(tmp_path: Path) -> None:
    dataset = read_minari(write(tmp_path / "d", image=gym.spaces.Dict({"pixels": IMAGE})), default_fps=7.0)
    assert dataset.episode(0).frames.shape == (7, 4, 5, 3)
    assert (dataset.env_id, dataset.fps, dataset.frame_skip, dataset.frame_size) == ("", 7.0, 1, (4, 5))


@pytest.mark.parametrize(
    ("space", "kind", "size"),
    [
        (gym.spaces.Box(-1, 1, (2, 3), np.float64), "box", 6),
        (gym.spaces.Discrete(5, start=2), "discrete", 1),
        (gym.spaces.MultiDiscrete([2, 3, 4], start=[1, 0, -1]), "multi_discrete", 3),
        (gym.spaces.MultiBinary(4), "multi_binary", 4),
    ],
)
def test_action_spec_of_every_space_goes_there_and_back(space: gym.Space, kind: str, size: int, tmp_path: Path) -> None:
    spec = action_spec(space)
    assert spec.kind == kind and spec.size == size
    dataset = read_minari(write(tmp_path / "d", actions=space))
    actions = dataset.episode(0).actions
    tensor = dataset.action_spec.to_tensor(actions)
    assert tensor.shape == (6, size)
    if spec.is_integer:
        assert tensor.dtype == torch.int64 and tensor.min() >= 0
    native = spec.to_native(tensor)
    assert native.dtype == space.dtype and np.allclose(native, actions)
    assert all(space.contains(action if action.shape else action[()]) for action in native)


def test_unknown_action_space() -> None:
    with pytest.raises(ValueError, match="expected Box, Discrete, MultiDiscrete or MultiBinary, got Text"):
        action_spec(gym.spaces.Text(5))


def test_missing_and_unfinished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: expected a Minari dataset.*record with"):
        read_minari(tmp_path / "nowhere")
    (tmp_path / "half" / "episodes").mkdir(parents=True)
    with pytest.raises(ValueError, match="recording has not finished"):
        read_minari(tmp_path / "half")


def test_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nobody: the dataset is empty"):
        read_minari(write(tmp_path / "nobody", episodes=0))
    assert not (tmp_path / "nobody" / "split.json").exists()


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_truncated_hdf5_is_named(folder: Path, kept: int) -> None:
    path = folder / "data" / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"main_data\.hdf5: not readable as HDF5"):
        read_minari(folder)


def test_missing_episode_is_named(folder: Path) -> None:
    import h5py

    dataset = read_minari(folder)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1"]
    with pytest.raises(ValueError, match=r"main_data\.hdf5: cannot read episode 1"):
        dataset.episodes()


@pytest.mark.parametrize("content", ["", "{", "{}", '{"data_format": "hdf5"}'])
def test_damaged_metadata_is_named(folder: Path, content: str) -> None:
    (folder / "data" / "metadata.json").write_text(content)
    with pytest.raises(ValueError, match=r"metadata\.json: cannot read"):
        read_minari(folder)


def test_observations_that_are_not_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    shutil.rmtree(folder / "data")
    storage = MinariStorage.new(folder / "data", gym.spaces.Box(-1, 1, (3,)), BOX, jpeg_encoding=False)
    storage.update_metadata({"dataset_id": "state-v0", "minari_version": minari.__version__})
    steps = buffer(BOX, 4)
    state = EpisodeBuffer(
        observations=np.zeros((5, 3), np.float32),
        actions=steps.actions,
        rewards=steps.rewards,
        terminations=steps.terminations,
        truncations=steps.truncations,
    )
    storage.update_episodes([state] * 3)
    with pytest.raises(ValueError, match=r"episode 0: expected uint8 images"):
        read_minari(folder).episode(0)
