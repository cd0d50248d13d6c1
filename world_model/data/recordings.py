"""Plain recordings: films and the actions taken in them, `NAME.mp4` beside `NAME.npz`.

The npz holds one array [T a] (under any name, or several with one called `actions`, `action` or `arr_0`), a row per
frame: `actions[t]` leads from frame t to frame t+1. A film of T frames has T rows, of which the last leads nowhere and
is dropped, or T-1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from world_model.data.episode import Episode
from world_model.data.files import FileEpisodes, numbered
from world_model.data.npz import ArrayHeader, npz_headers, npz_rows
from world_model.data.video import VideoFacts, read_video, video_facts
from world_model.types import ActionSpec

NAMES = ("actions", "action", "arr_0")


class Recordings(FileEpisodes):
    """Reader of a folder of films; an episode's id is the number that is its name, or its place in the list."""

    def __init__(self, folder: Path) -> None:
        films = sorted(folder.glob("*.mp4"))
        paths = [path for path in films if path.with_suffix(".npz").exists()]
        if not paths:
            raise ValueError(f"{folder}: expected films NAME.mp4 with actions NAME.npz beside them, found none")
        super().__init__(folder, numbered(paths, [path.stem for path in paths]))

    def count_frames(self, index: int) -> int:
        return self._facts(index).num_frames

    def check(self, index: int) -> None:
        self.num_frames(index)
        self._rows(index)

    def fps(self) -> float:
        """Frames per second of the first film."""
        return self._facts(self.ids()[0]).fps

    def action_spec(self) -> ActionSpec:
        """A box around all recorded actions, so that planners stay where the model has learned.

        Raises:
            ValueError: if the films differ in the number of actions.
        """
        low = high = None
        for index in self.ids():
            path, rows = self.path(index).with_suffix(".npz"), self._rows(index)
            if low is not None and low.shape != rows.shape[1:]:
                raise ValueError(f"{path}: expected [T {len(low)}] as in the other files, got {rows.shape}")
            low = rows.min(0) if low is None else np.minimum(low, rows.min(0))
            high = rows.max(0) if high is None else np.maximum(high, rows.max(0))
        assert low is not None and high is not None
        return ActionSpec("box", low.shape, tuple(map(float, low)), tuple(map(float, high)))

    def read(self, index: int, start: int, stop: int) -> Episode:
        facts = self._facts(index)
        frames = read_video(self.path(index), start, stop, facts.fps)
        return Episode.from_video(frames, self._rows(index, start, stop - 1), index, complete=stop == facts.num_frames)

    def _rows(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        path = self.path(index).with_suffix(".npz")
        rows = npz_rows(path, _chosen(npz_headers(path), path), start, stop).astype(np.float32)
        if not np.isfinite(rows).all():
            raise ValueError(f"{path}: expected finite numbers, got NaN or infinity")
        return rows

    def _facts(self, index: int) -> VideoFacts:
        film = self.path(index)
        actions = film.with_suffix(".npz")
        headers = npz_headers(actions)
        facts, shape = video_facts(film), headers[_chosen(headers, actions)].shape
        if shape[0] not in (facts.num_frames, facts.num_frames - 1):
            raise ValueError(
                f"{actions}: expected a row of actions for each of the {facts.num_frames} frames of {film.name} (or "
                f"one less), got {shape[0]}"
            )
        return facts


def _chosen(headers: dict[str, ArrayHeader], path: Path) -> str:
    """Name of the array of actions."""
    names = list(headers) if len(headers) == 1 else [name for name in NAMES if name in headers]
    if len(names) != 1:
        raise ValueError(f"{path}: expected one array of actions, or one called one of {NAMES}, got {sorted(headers)}")
    header = headers[names[0]]
    if len(header.shape) != 2 or header.dtype.kind not in "fiub" or not header.shape[0]:
        raise ValueError(f"{path}, {names[0]}: expected numbers [T a], got {header.dtype} {header.shape}")
    return names[0]
