"""What readers of one file (or folder) per episode have in common."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from world_model.data.episode import Episode
from world_model.types import ActionSpec


class FileEpisodes(ABC):
    """An :class:`EpisodeReader` of episodes in files of their own.

    Args:
        folder: of the dataset.
        paths: the file of each episode id.
    """

    random_access = False

    def __init__(self, folder: Path, paths: Mapping[int, Path]) -> None:
        self.folder = folder
        self.paths = dict(sorted(paths.items()))
        self._lengths: dict[int, int] = {}

    def ids(self) -> list[int]:
        return list(self.paths)

    def name(self, index: int) -> str:
        """Path of the episode's file in the dataset's folder, with forward slashes."""
        return self.path(index).relative_to(self.folder).as_posix()

    def path(self, index: int) -> Path:
        """File of an episode.

        Raises:
            ValueError: if there is no such episode.
        """
        if index not in self.paths:
            raise ValueError(f"{self.folder}: has no episode {index}; it has {len(self.paths)}, see `ids()`")
        return self.paths[index]

    @abstractmethod
    def action_spec(self) -> ActionSpec:
        """Of the recorded actions."""

    @abstractmethod
    def fps(self) -> float:
        """Recorded frames per second."""

    @abstractmethod
    def count_frames(self, index: int) -> int:
        """Frames of an episode, told by the beginning of its file."""

    @abstractmethod
    def read(self, index: int, start: int, stop: int) -> Episode:
        """Frames `start` to `stop - 1` and the actions between them."""

    def num_frames(self, index: int) -> int:
        """Frames of an episode; each file is looked into once."""
        if index not in self._lengths:
            self._lengths[index] = self.count_frames(index)
        return self._lengths[index]

    def check(self, index: int) -> None:
        """Look at as much of an episode as is cheap.

        Raises:
            ValueError: if it is damaged; names the file.
        """
        self.num_frames(index)

    def leave_out_damaged(self) -> None:
        """Forget the episodes that fail their check; they are named in a warning.

        Raises:
            ValueError: if none is left.
        """
        problems = {}
        for index in self.paths:
            try:
                self.check(index)
            except ValueError as error:
                problems[index] = str(error)
        if len(problems) == len(self.paths):
            raise ValueError(
                f"{self.folder}: none of {len(problems)} episodes can be read; {next(iter(problems.values()))}"
            )
        if problems:
            listed = "; ".join(problems.values())
            warnings.warn(f"{self.folder}: left out {len(problems)} damaged episodes: {listed}", stacklevel=3)
        self.paths = {index: path for index, path in self.paths.items() if index not in problems}

    def fingerprint(self) -> str:
        """Names and sizes of all files."""
        digest = hashlib.sha256()
        for index, path in self.paths.items():
            digest.update(f"{index} {self.name(index)} {path.stat().st_size}\n".encode())
        return digest.hexdigest()


def numbered(paths: list[Path], numbers: list[str]) -> dict[int, Path]:
    """Files by the number in their names where each has its own, or else by their place in the sorted list."""
    ids = [int(number) if number.isdecimal() else -1 for number in numbers]
    if len(set(ids)) == len(ids) and -1 not in ids:
        return dict(zip(ids, paths, strict=True))
    return dict(enumerate(sorted(paths)))
