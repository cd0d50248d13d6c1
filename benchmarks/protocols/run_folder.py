"""The folder of a run: its settings, the films and what each scored. Every file appears whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from benchmarks.film_layout import ClipFiles, Layout
from benchmarks.scoring import Scores

SETTINGS, FILMS = "run.json", "videos"
IMAGINED, RANDOM = "imagined", "random"
"""Under which name the scores of a film are kept, and those of its double under random actions."""


class RunFolder:
    """A run on disk.

    Args:
        folder: where.
        layout: of the films.
        settings: what decides the films and their scores; written down, so that no two runs get mixed.

    Raises:
        ValueError: the folder holds a run with other settings; names them.
    """

    def __init__(self, folder: str | Path, layout: Layout, settings: Mapping[str, Any]) -> None:
        self.folder, self.layout = Path(folder), layout
        path = self.folder / SETTINGS
        wanted = json.loads(json.dumps(_plain(settings)))
        if path.exists():
            found = read_json(path)
            other = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
            if other:
                listed = "; ".join(f"{key} was {_short(found.get(key))}, is {_short(wanted.get(key))}" for key in other)
                raise ValueError(
                    f"{path}: another run lies here ({listed}). Choose another folder with out=, or remove it"
                )
        else:
            write_json(path, wanted)

    def files(self, name: str) -> ClipFiles:
        """Where the files of a film lie."""
        return ClipFiles(self.folder / FILMS, name, self.layout)

    def is_finished(self, name: str) -> bool:
        return self.files(name).scores.exists()

    def save(self, name: str, about: Mapping[str, Any], scores: Mapping[str, Scores]) -> None:
        """Write what a film scored; with this it is finished.

        Args:
            about: of the film, for people.
            scores: under `imagined`, and `random` where there is a double.
        """
        files = self.files(name)
        features = {f"{kind}_{key}": value for kind, one in scores.items() for key, value in one.features.items()}
        if features:
            files.features.parent.mkdir(parents=True, exist_ok=True)
            temporary = files.features.with_name(f".{files.features.stem}.{os.getpid()}.npz")
            np.savez(temporary, **features)  # type: ignore[arg-type]
            os.replace(temporary, files.features)
        curves = {kind: {"frames": list(one.frames), **one.curves} for kind, one in scores.items()}
        write_json(files.scores, {"name": name, **about, **curves})

    def load(self, name: str) -> dict[str, Scores]:
        """What a finished film scored.

        Raises:
            ValueError: a file is damaged; names it.
        """
        files = self.files(name)
        content = read_json(files.scores)
        features = _read_features(files.features) if files.features.exists() else {}
        scores = {}
        for kind in (kind for kind in (IMAGINED, RANDOM) if kind in content):
            curves = {key: _array(values) for key, values in content[kind].items() if key != "frames"}
            own = {key.removeprefix(f"{kind}_"): value for key, value in features.items() if key.startswith(f"{kind}_")}
            scores[kind] = Scores(tuple(content[kind]["frames"]), curves, own)
        return scores


def write_json(path: Path, content: Any) -> Path:
    """Write JSON; numbers that are not finite become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); remove it to have it made again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}; remove it")
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _read_features(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path}: not readable as features ({error}); remove the film to have it made again"
        ) from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
