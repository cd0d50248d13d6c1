"""Reading Minari datasets, above all those of `v2w collect`. The only module of `world_model` that knows Gymnasium.

Minari is part of the extra `sim` and is imported when a dataset is opened, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from world_model.data.episode import IMAGE_KEYS, Episode
from world_model.data.split import SPLITS, Split, recorded_split
from world_model.data.windows import ClipDataset
from world_model.types import ActionSpec

if TYPE_CHECKING:
    import gymnasium
    from minari import MinariDataset


@dataclass(frozen=True)
class RecordedDataset:
    """A dataset on disk and its split; episodes are read when asked for.

    Attributes:
        path: folder of the dataset (the one that holds `split.json`).
        action_spec: of the dataset's action space.
        env_id: Gymnasium id of the environment it was recorded in ("" if unknown).
        env_kwargs: what `gymnasium.make` was given.
        fps: recorded frames per second.
        frame_skip: steps of the environment per recorded action.
        split: episode ids under "train", "validation" and "test".
        metadata: everything Minari's metadata says.
    """

    path: Path
    action_spec: ActionSpec
    env_id: str
    env_kwargs: dict[str, Any]
    fps: float
    frame_skip: int
    split: Split
    metadata: dict[str, Any] = field(repr=False)
    minari: MinariDataset = field(repr=False)

    def __len__(self) -> int:
        """Number of episodes."""
        return int(self.minari.total_episodes)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        height, width = self.episode(int(self.minari.episode_indices[0])).frames.shape[1:3]
        return height, width

    def ids(self, part: str | None = None) -> list[int]:
        """Episode ids of one part of the split, or of the whole dataset (None)."""
        if part is None:
            return [int(index) for index in self.minari.episode_indices]
        if part not in SPLITS:
            raise ValueError(f"split: expected one of {SPLITS} or None, got {part!r}")
        return self.split[part]

    def episode(self, index: int) -> Episode:
        """Read one episode."""
        return next(self.iterate([index]))

    def iterate(self, ids: Iterable[int]) -> Iterator[Episode]:
        """Read episodes one after the other.

        Raises:
            ValueError: if the file is damaged or an episode does not hold frames; names the file and the episode.
        """
        for index in ids:
            try:
                data = next(iter(self.minari.iterate_episodes([index])))
            except (OSError, KeyError, AssertionError) as error:
                raise ValueError(
                    f"{_hdf5(self.path)}: cannot read episode {index} ({error}). The file is damaged or incomplete: "
                    "record it again"
                ) from error
            yield Episode(
                frames=_frames(data.observations, index, self.path),
                actions=np.asarray(data.actions),
                rewards=np.asarray(data.rewards, dtype=np.float32),
                terminations=np.asarray(data.terminations, dtype=np.bool_),
                truncations=np.asarray(data.truncations, dtype=np.bool_),
                id=index,
                infos=data.infos or None,
            )

    def episodes(self, part: str | None = None) -> list[Episode]:
        """Read all episodes of one part of the split (or of the dataset) into memory."""
        return list(self.iterate(self.ids(part)))

    def clips(self, part: str, window: int, stride: int = 1, short: Literal["error", "skip"] = "error") -> ClipDataset:
        """The windows of one part of the split, held in memory; see `ClipDataset`."""
        return ClipDataset(self.episodes(part), self.action_spec, window, stride, short, f"{self.path} ({part})")


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
    return RecordedDataset(
        path=folder,
        action_spec=action_spec(dataset.action_space),
        env_id=str(facts.get("env_id", env_spec.get("id", ""))),
        env_kwargs=dict(facts.get("env_kwargs", env_spec.get("kwargs", {}))),
        fps=float(facts.get("fps", default_fps)),
        frame_skip=int(facts.get("frame_skip", 1)),
        split=recorded_split(folder, [int(i) for i in dataset.episode_indices], split_seed, fractions, extend_split),
        metadata=metadata,
        minari=dataset,
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
