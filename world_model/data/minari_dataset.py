"""Reading Minari datasets, above all those of `v2w collect`. The only module of `world_model` that knows Gymnasium.

Minari is part of the extra `sim` and is imported when a dataset is opened, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from world_model.data.episode import IMAGE_KEYS, Episode
from world_model.data.recorded import RecordedDataset
from world_model.data.split import recorded_split
from world_model.types import ActionSpec

if TYPE_CHECKING:
    import gymnasium
    from minari import MinariDataset


class MinariEpisodes:
    """Reader of a Minari dataset whose observations are images.

    Args:
        path: folder of the dataset, named in errors.
        minari: the opened dataset.
        fps: recorded frames per second.
    """

    random_access = False

    def __init__(self, path: Path, minari: MinariDataset, fps: float) -> None:
        self.path = path
        self.minari = minari
        self._fps = fps

    def action_spec(self) -> ActionSpec:
        return action_spec(self.minari.action_space)

    def fps(self) -> float:
        return self._fps

    def ids(self) -> list[int]:
        return [int(index) for index in self.minari.episode_indices]

    def name(self, index: int) -> str:
        return f"episode_{index}"

    def num_frames(self, index: int) -> int:
        with self._reading(index):
            metadata = next(iter(self.minari.storage.get_episode_metadata([index])))
            if "total_steps" in metadata:
                return int(metadata["total_steps"]) + 1
        return len(self._episode(index).frames)

    def read(self, index: int, start: int, stop: int) -> Episode:
        episode = self._episode(index)
        return episode if (start, stop) == (0, len(episode.frames)) else episode.part(start, stop)

    def seed(self, index: int) -> int:
        """What the environment was reset with."""
        with self._reading(index):
            return int(next(iter(self.minari.storage.get_episode_metadata([index])))["seed"])

    def fingerprint(self) -> str:
        return str(self.minari.storage.metadata.get("total_steps"))

    def _episode(self, index: int) -> Episode:
        with self._reading(index):
            data = next(iter(self.minari.iterate_episodes([index])))
        return Episode(
            frames=_frames(data.observations, index, self.path),
            actions=np.asarray(data.actions),
            rewards=np.asarray(data.rewards, dtype=np.float32),
            terminations=np.asarray(data.terminations, dtype=np.bool_),
            truncations=np.asarray(data.truncations, dtype=np.bool_),
            id=index,
            infos=data.infos or None,
        )

    @contextmanager
    def _reading(self, index: int) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, AssertionError) as error:
            raise ValueError(
                f"{_hdf5(self.path)}: cannot read episode {index} ({error}). The file is damaged or incomplete: "
                "record it again"
            ) from error


def read_minari(
    path: str | Path,
    split_seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    extend_split: bool = False,
    default_fps: float = 10.0,
) -> RecordedDataset:
    """Open a Minari dataset whose observations are images.

    Args:
        path: folder written by `v2w collect`, or any Minari dataset folder (with or without its `data` at the end).
        split_seed: draws the split if none is recorded in the folder.
        fractions: of the split if none is recorded in the folder.
        extend_split: see `recorded_split`.
        default_fps: for datasets that do not say; `v2w collect` does.

    Raises:
        ValueError: if the folder is missing, empty or damaged, or its actions are of an unknown kind; names the file.
        ImportError: without Minari (extra `sim`).
    """
    try:
        from minari import MinariDataset
    except ImportError as error:
        raise ImportError("reading Minari datasets needs the extra: pip install 'vid2world-gym[sim]'") from error
    folder = Path(path)
    if folder.name == "data" and not (folder / "data").exists():
        folder = folder.parent
    data = folder / "data"
    if not (data / "metadata.json").exists():
        unfinished = (folder / "episodes").exists()
        hint = (
            "recording has not finished, run the same `v2w collect` again"
            if unfinished
            else "record with `v2w collect`"
        )
        raise ValueError(f"{folder}: expected a Minari dataset ({data / 'metadata.json'} is missing); {hint}")
    try:
        metadata = json.loads((data / "metadata.json").read_text())
        dataset = MinariDataset(data)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise ValueError(f"{data / 'metadata.json'}: cannot read the dataset's metadata ({error})") from error
    _check_hdf5(folder)
    if not len(dataset):
        raise ValueError(f"{folder}: the dataset is empty; record some episodes with `v2w collect`")
    facts = metadata.get("v2w", {})
    env_spec = json.loads(metadata.get("env_spec") or "{}")
    reader = MinariEpisodes(folder, dataset, float(facts.get("fps", default_fps)))
    return RecordedDataset(
        path=folder,
        format="minari",
        reader=reader,
        action_spec=reader.action_spec(),
        env_id=str(facts.get("env_id", env_spec.get("id", ""))),
        env_kwargs=dict(facts.get("env_kwargs", env_spec.get("kwargs", {}))),
        fps=reader.fps(),
        frame_skip=int(facts.get("frame_skip", 1)),
        split=recorded_split(folder, reader.ids(), split_seed, fractions, extend_split),
        metadata=metadata,
    )


def action_spec(space: gymnasium.Space) -> ActionSpec:
    """The `ActionSpec` of a Gymnasium action space.

    Raises:
        ValueError: for spaces other than Box, Discrete, MultiDiscrete and MultiBinary.
    """
    from gymnasium import spaces

    dtype = np.dtype(space.dtype).name if space.dtype is not None else ""
    if isinstance(space, spaces.Box):
        low, high = (tuple(float(value) for value in bound.reshape(-1)) for bound in (space.low, space.high))
        return ActionSpec("box", shape=tuple(space.shape), low=low, high=high, dtype=dtype)
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", nvec=(int(space.n),), start=(int(space.start),), dtype=dtype)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = (tuple(int(value) for value in entry.reshape(-1)) for entry in (space.nvec, space.start))
        return ActionSpec("multi_discrete", shape=tuple(space.shape), nvec=nvec, start=start, dtype=dtype)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("multi_binary", shape=tuple(space.shape), dtype=dtype)
    raise ValueError(f"action space: expected Box, Discrete, MultiDiscrete or MultiBinary, got {space}")


def _frames(observations: Any, index: int, path: Path) -> np.ndarray:
    if isinstance(observations, dict):
        keys = [key for key in IMAGE_KEYS if key in observations]
        if not keys:
            raise ValueError(
                f"{path}, episode {index}: expected an image named one of {IMAGE_KEYS} in the observations, got "
                f"{sorted(observations)}"
            )
        observations = observations[keys[0]]
    frames = np.asarray(observations)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"{path}, episode {index}: expected uint8 images [T+1 h w 3] as observations, got {frames.dtype} "
            f"{frames.shape}. Record the environment with `v2w collect`, which renders it"
        )
    return frames


def _hdf5(folder: Path) -> Path:
    return folder / "data" / "main_data.hdf5"


def _check_hdf5(folder: Path) -> None:
    """Open the file once, so that a truncated one is named here and not in the middle of training."""
    import h5py

    path = _hdf5(folder)
    if not path.exists():
        return  # another of Minari's storage formats
    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:
        raise ValueError(f"{path}: not readable as HDF5, truncated or damaged ({error}); record it again") from error
