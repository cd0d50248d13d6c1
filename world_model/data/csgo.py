"""Counter-Strike recordings in HDF5 files of 1,000 frames (Pearce and Zhu, "Counter-Strike Deathmatch").

Each holds `frame_i_x` uint8 [150 280 3] with channels blue, green, red, which are turned to RGB here, and `frame_i_y`
with 51 zeros and ones: 11 keys, 2 mouse buttons, 23 horizontal and 15 vertical mouse movements (one of each is 1).
`frame_i_y` is pressed at frame i and leads to frame i+1, so the last one is dropped.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from world_model.data.episode import Episode
from world_model.data.extras import require
from world_model.data.files import FileEpisodes
from world_model.data.transforms import Letterbox
from world_model.types import ActionSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

FPS = 16.0
PUBLISHED = Letterbox(320, 512, content=(275, 512))  # bars of 22 rows above and 23 below
NUM_ACTIONS = 51
ACTIONS = ActionSpec("multi_binary", (NUM_ACTIONS,), dtype="int8")


class CSGOEpisodes(FileEpisodes):
    """Reader of HDF5 files, in the folder or one below; an episode's id is its file's place in the sorted list."""

    random_access = True

    def __init__(self, folder: Path) -> None:
        paths = hdf5_files(folder)
        if not paths:
            raise ValueError(f"{folder}: expected .hdf5 files, found none")
        super().__init__(folder, dict(enumerate(paths)))

    def action_spec(self) -> ActionSpec:
        return ACTIONS

    def fps(self) -> float:
        return FPS

    def count_frames(self, index: int) -> int:
        path = self.path(index)
        with _opened(path) as file:
            count = sum(key.startswith("frame_") and key.endswith("_x") for key in file)
            if not count or f"frame_{count - 1}_x" not in file or f"frame_{count - 1}_y" not in file:
                raise ValueError(
                    f"{path}: expected frame_0_x and frame_0_y, frame_1_x and so on without a gap, got {count} frames "
                    f"among {list(file)[:4]}"
                )
        return count

    def read(self, index: int, start: int, stop: int) -> Episode:
        path = self.path(index)
        with _opened(path) as file:
            frames = np.stack([_array(file, f"frame_{i}_x", path) for i in range(start, stop)])
            actions = np.stack(
                [np.zeros(NUM_ACTIONS), *(_array(file, f"frame_{i}_y", path) for i in range(start, stop - 1))]
            )[1:]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"{path}: expected frames uint8 [h w 3], got {frames.dtype} {frames.shape[1:]}")
        if not np.isin(actions, (0, 1)).all():
            raise ValueError(f"{path}: expected actions of zeros and ones, got {np.unique(actions)[:5]}")
        rgb = np.ascontiguousarray(frames[..., ::-1])
        return Episode.from_video(rgb, actions.astype(np.int8), index, complete=stop == self.num_frames(index))


def hdf5_files(folder: Path) -> list[Path]:
    """The HDF5 files in a folder and in those directly below."""
    return sorted(path for pattern in ("*.hdf5", "*.h5", "*/*.hdf5", "*/*.h5") for path in folder.glob(pattern))


def _array(file: Any, key: str, path: Path) -> np.ndarray:
    if key not in file:
        raise ValueError(f"{path}: {key} is missing")
    return file[key][()]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file; opened for each access, so that readers can be handed to other processes."""
    h5py = require("h5py", "reading Counter-Strike recordings")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: not readable as HDF5, truncated or damaged ({error})") from error
