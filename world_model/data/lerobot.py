"""LeRobot datasets, format v3: many episodes to a parquet file and to a film.

    meta/info.json                                   what is recorded, frames per second, where files lie
    meta/stats.json                                  smallest and largest actions, among others
    meta/episodes/chunk-000/file-000.parquet         where each episode lies
    data/chunk-000/file-000.parquet                  a row per frame: action, next.reward, next.done, ...
    videos/CAMERA/chunk-000/file-000.mp4             the films of one camera, end to end

`action` of row t leads from frame t to frame t+1. The last row of an episode leads nowhere: its action, and with it its
`next.reward` and `next.done`, are dropped.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from world_model.data.episode import Episode
from world_model.data.extras import require
from world_model.data.video import read_video
from world_model.types import ActionSpec

INFO = Path("meta") / "info.json"
VERSION = "v3"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


@dataclass(frozen=True)
class EpisodePlace:
    """Where an episode lies.

    Attributes:
        num_frames: of the episode.
        data: parquet file that holds its rows.
        film: that holds its frames; None if the rows do.
        film_start: seconds into the film.
    """

    num_frames: int
    data: Path
    film: Path | None
    film_start: float


class LeRobotEpisodes:
    """Reader of a LeRobot v3 folder.

    Args:
        camera: which images to read, such as "observation.images.top"; may be left out where there is one camera.
    """

    random_access = True

    def __init__(self, folder: Path, camera: str | None = None) -> None:
        self.folder = folder
        self.info = _info(folder / INFO)
        features = self.info["features"]
        cameras = sorted(key for key, feature in features.items() if feature.get("dtype") in ("video", "image"))
        chosen = cameras if camera is None else [key for key in cameras if key == camera]
        if len(chosen) != 1:
            raise ValueError(f"{folder}: expected camera= one of {cameras}, got {camera!r}")
        self.camera = chosen[0]
        self.in_film: bool = features[self.camera]["dtype"] == "video"
        self.places = self._places()

    def ids(self) -> list[int]:
        return list(self.places)

    def name(self, index: int) -> str:
        return f"episode_{index:06d}"

    def num_frames(self, index: int) -> int:
        if index not in self.places:
            raise ValueError(f"{self.folder}: has no episode {index}; it has {len(self.places)}")
        return self.places[index].num_frames

    def fingerprint(self) -> str:
        lengths = ",".join(f"{index}:{place.num_frames}" for index, place in self.places.items())
        return f"{self.camera} {lengths}"

    def fps(self) -> float:
        return float(self.info["fps"])

    def action_spec(self) -> ActionSpec:
        """A box of the smallest and largest recorded actions, without bounds where `meta/stats.json` has none."""
        shape = tuple(self.info["features"]["action"]["shape"])
        size = int(np.prod(shape))
        path = self.folder / "meta" / "stats.json"
        try:
            stats = json.loads(path.read_text())["action"] if path.exists() else {}
            low, high = (np.asarray(stats[key], np.float64).reshape(-1) for key in ("min", "max"))
        except KeyError:
            low, high = np.full(size, -np.inf), np.full(size, np.inf)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: not readable ({error}); restore it, or delete it to do without bounds"
            ) from error
        if len(low) != size or len(high) != size:
            raise ValueError(f"{path}: expected {size} smallest and largest actions, got {len(low)} and {len(high)}")
        return ActionSpec("box", shape, tuple(map(float, low)), tuple(map(float, high)))

    def read(self, index: int, start: int, stop: int) -> Episode:
        length = self.num_frames(index)
        place = self.places[index]
        images = [] if self.in_film else [self.camera]
        rows = self._rows(index, place, images)
        steps = slice(start, stop - 1)
        if place.film is None:
            frames = np.stack([_image(cell, place.data) for cell in rows[self.camera][start:stop]])
        else:
            frames = read_video(place.film, start, stop, self.fps(), offset=place.film_start)
        shape = (stop - 1 - start, *self.info["features"]["action"]["shape"])
        actions = _numbers(rows["action"][steps], place.data, shape)
        episode = Episode.from_video(frames, actions, index, complete=stop == length)
        if "next.reward" in rows:
            episode.rewards[:] = np.asarray(rows["next.reward"][steps], np.float32).reshape(-1)
        if "next.done" in rows:
            episode.terminations[:] = np.asarray(rows["next.done"][steps], np.bool_).reshape(-1)
        return episode

    def _rows(self, index: int, place: EpisodePlace, images: list[str]) -> dict[str, list[Any]]:
        """Columns of an episode, in the order of its frames."""
        wanted = ["action", *images, *(key for key in ("next.reward", "next.done") if key in self.info["features"])]
        table = _table(place.data, [*wanted, "frame_index"], [("episode_index", "==", index)])
        order = np.asarray(table["frame_index"])
        if order.tolist() != list(range(place.num_frames)):
            raise ValueError(
                f"{place.data}: expected {place.num_frames} rows of episode {index} in order, got {len(order)}; the "
                "dataset is incomplete"
            )
        return {key: table[key] for key in wanted}

    def _places(self) -> dict[int, EpisodePlace]:
        files = sorted((self.folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
        film = [f"videos/{self.camera}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")]
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index", *(film if self.in_film else [])]
        places: dict[int, EpisodePlace] = {}
        for path in files:
            table = _table(path, columns)
            for values in zip(*(table[column] for column in columns), strict=True):
                index, length, chunk, file = map(int, values[:4])
                data = self.info.get("data_path", DATA_PATH).format(chunk_index=chunk, file_index=file)
                places[index] = EpisodePlace(length, self.folder / data, *self._film(values[4:]))
        if not places:
            raise ValueError(f"{self.folder}: the dataset is empty, no episodes in meta/episodes")
        return dict(sorted(places.items()))

    def _film(self, place: tuple[Any, ...]) -> tuple[Path | None, float]:
        if not place:
            return None, 0.0
        chunk, file, start = place
        pattern = self.info.get("video_path") or VIDEO_PATH
        path = pattern.format(video_key=self.camera, chunk_index=int(chunk), file_index=int(file))
        return self.folder / path, float(start)


def _info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text())
        version, features = str(info["codebase_version"]), info["features"]
        _ = info["fps"], features["action"]["shape"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected LeRobot's description with fps, features and action ({error!r})") from error
    if not version.startswith(VERSION):
        raise ValueError(
            f"{path}: expected a LeRobot dataset of version {VERSION}, got {version}; convert it with LeRobot's own "
            "converter"
        )
    return info


def _table(path: Path, columns: list[str], filters: list[tuple[str, str, int]] | None = None) -> dict[str, list[Any]]:
    """Columns of a parquet file as lists."""
    parquet = require("pyarrow.parquet", "reading LeRobot datasets")
    arrow_error = require("pyarrow", "reading LeRobot datasets").ArrowException
    try:
        return (
            parquet.ParquetFile(path).read(columns).to_pydict()
            if filters is None
            else (parquet.read_table(path, columns=columns, filters=filters, partitioning=None).to_pydict())
        )
    except (OSError, KeyError, ValueError, arrow_error) as error:
        raise ValueError(f"{path}: not readable as parquet with columns {columns} ({error})") from error


def _numbers(values: Any, path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, np.float32).reshape(shape)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}, action: expected numbers of shape {shape} ({error})") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{path}, action: expected finite numbers, got NaN or infinity")
    return array


def _image(cell: Any, path: Path) -> NDArray[np.uint8]:
    """An image kept in a parquet cell as its encoded bytes."""
    try:
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, KeyError, TypeError, SyntaxError) as error:
        raise ValueError(f"{path}: an image in it is not readable ({error})") from error
