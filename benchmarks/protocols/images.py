"""A folder of pictures as starts: each is an episode that stands still."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from benchmarks.protocols.actions import GAME_ACTIONS, still
from world_model.data.csgo import ACTIONS
from world_model.data.episode import Episode
from world_model.data.recorded import RecordedDataset
from world_model.data.transforms import Letterbox
from world_model.types import ActionSpec

ENDINGS = (".png", ".jpg", ".jpeg")


class Pictures:
    """Reader of a folder of pictures, each repeated `num_frames` times, under actions that do nothing."""

    random_access = True

    def __init__(self, folder: Path, num_frames: int) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; expected one with pictures ({', '.join(ENDINGS)})")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        if not paths:
            raise ValueError(f"{folder}: expected pictures ({', '.join(ENDINGS)}), found none")
        self.folder, self.count, self.paths = folder, num_frames, dict(enumerate(paths))

    def action_spec(self) -> ActionSpec:
        return ACTIONS

    def fps(self) -> float:
        return 4.0

    def ids(self) -> list[int]:
        return list(self.paths)

    def name(self, index: int) -> str:
        """Path in the folder, its parts joined so that it can name one folder."""
        return "_".join(self.paths[index].relative_to(self.folder).parts)

    def num_frames(self, index: int) -> int:
        return self.count

    def read(self, index: int, start: int, stop: int) -> Episode:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                picture: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise ValueError(f"{path}: not readable as a picture, truncated or damaged ({error})") from error
        frames = np.repeat(picture[None], stop - start, axis=0)
        actions = still(stop - start - 1, GAME_ACTIONS).numpy().astype(np.int8)
        return Episode.from_video(frames, actions, index)

    def fingerprint(self) -> str:
        return " ".join(self.name(index) for index in self.paths)


def open_pictures(folder: str | Path, num_frames: int, letterbox: Letterbox) -> RecordedDataset:
    """The pictures as a dataset whose episodes all validate.

    Raises:
        ValueError: no such folder, or no pictures in it.
    """
    reader = Pictures(Path(folder), num_frames)
    split = {"train": [], "validation": reader.ids(), "test": []}
    return RecordedDataset(
        Path(folder), "images", reader, reader.action_spec(), reader.fps(), split, transform=letterbox
    )
