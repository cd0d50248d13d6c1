"""Which clips the published models are evaluated on, chosen the same way on every machine and in every process.

The reference seeds the start of an RT-1 clip with Python's `hash` of the file's name. Python draws a new hash for text
in every process unless the environment variable PYTHONHASHSEED is a number, so its clips, and with them its numbers,
differ from run to run. Here the start follows from SHA-256 of the name. `starts="python_hash"` does what the reference
does, and refuses to where the result would not be the same next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from world_model.data.recorded import RecordedDataset
from world_model.data.windows import Clip, ClipDataset

StartRule = Literal["stable", "python_hash"]


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip begins: frame `start` of the episode with this id."""

    episode: int
    start: int


def rt1_clips(
    dataset: RecordedDataset,
    num_frames: int = 16,
    count: int = 1024,
    seed: int = 0,
    starts: StartRule = "stable",
    part: str | None = "validation",
) -> list[ClipPlace]:
    """One clip of each of `count` episodes: a sample without repetition of those long enough, sorted by name.

    Also right for other datasets of one clip per episode, as RECON.

    Args:
        dataset: its `validation` part is the published list if it was opened with it.
        count: 1024 for RT-1, 500 for RECON's single steps, 150 for its rollouts. With no more episodes than this there
            is no draw and they stay in the order of their names.
        starts: how the start follows from the episode's name, see above.

    Raises:
        ValueError: if no episode is long enough, or for `starts="python_hash"` without a fixed PYTHONHASHSEED.
    """
    ids = sorted(dataset.ids(part), key=dataset.name)
    lengths = {index: dataset.num_frames(index) for index in ids}
    chosen = [index for index in ids if lengths[index] >= num_frames]
    _check_any(chosen, dataset, part, num_frames)
    if len(ids) > count and len(chosen) > count:
        chosen = random.Random(seed).sample(chosen, count)
    return [ClipPlace(index, clip_start(dataset.name(index), lengths[index] - num_frames, starts)) for index in chosen]


def csgo_clips(
    dataset: RecordedDataset,
    num_frames: int = 16,
    count: int = 500,
    seed: int = 42,
    stored: Mapping[str, int] | None = None,
    part: str | None = "validation",
) -> list[ClipPlace]:
    """One clip of each of the first `count` episodes by name, starting anywhere with the same chance.

    The reference keeps a list of starts, drawn once for its 500 episodes of 1,000 frames by NumPy's
    `randint(0, 984)` with this seed; so are these. Where one has that list, `stored` takes it (see `stored_starts`).

    Args:
        stored: start by name of the episode, with or without folder and ending.

    Raises:
        ValueError: if no episode is long enough, or a stored start is missing or out of range.
    """
    ids = sorted(dataset.ids(part), key=dataset.name)[:count]
    last = {index: dataset.num_frames(index) - num_frames for index in ids}
    chosen = [index for index in ids if last[index] >= 0]
    _check_any(chosen, dataset, part, num_frames)
    if stored is None:
        ends = np.array([max(1, last[index]) for index in chosen])  # excluded, as in the reference
        draws = np.random.RandomState(seed).randint(0, ends)
        return [ClipPlace(index, int(start)) for index, start in zip(chosen, draws, strict=True)]
    by_stem = {PurePosixPath(name).stem: start for name, start in stored.items()}
    places = []
    for index in chosen:
        start = by_stem.get(PurePosixPath(dataset.name(index)).stem)
        if start is None or not 0 <= start <= last[index]:
            raise ValueError(
                f"stored starts: expected one within 0 and {last[index]} for {dataset.name(index)}, got {start}"
            )
        places.append(ClipPlace(index, start))
    return places


def clip_start(name: str, last: int, rule: StartRule = "stable") -> int:
    """A start within 0 and `last` that follows from the episode's name alone.

    Raises:
        ValueError: for `rule="python_hash"` in a process whose hashes nobody can repeat.
    """
    if rule == "stable":
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % (last + 1)
    if rule != "python_hash":
        raise ValueError(f"starts: expected stable or python_hash, got {rule!r}")
    if not os.environ.get("PYTHONHASHSEED", "").isdecimal():
        raise ValueError(
            "starts=python_hash: expected the environment variable PYTHONHASHSEED to be a number, got "
            f"{os.environ.get('PYTHONHASHSEED', '')!r}; without it Python hashes text differently in every process. "
            "Start Python with PYTHONHASHSEED=0, or use starts=stable"
        )
    return random.Random(hash(name)).randint(0, last)


def stored_starts(path: str | Path) -> dict[str, int]:
    """Starts by name of the episode, from a JSON object.

    Raises:
        ValueError: if the file holds something else.
    """
    try:
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict) or not all(type(start) is int for start in content.values()):
            raise TypeError(f"got {str(content)[:60]}")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON object of starts by episode name ({error})") from error
    return content


def read_clip(dataset: RecordedDataset, place: ClipPlace, num_frames: int) -> Clip:
    """The frames and actions of a clip."""
    window = dataset.read(place.episode, place.start, place.start + num_frames)
    clip = ClipDataset([window], dataset.action_spec, num_frames, source=str(dataset.path))[0]
    return Clip(frames=clip["frames"], actions=clip["actions"], episode=place.episode, start=place.start)


def _check_any(chosen: Sequence[int], dataset: RecordedDataset, part: str | None, num_frames: int) -> None:
    if not chosen:
        count = len(dataset.ids(part))
        raise ValueError(
            f"{dataset.path} ({part or 'all'}): expected episodes of {num_frames} frames or more, found none among "
            f"{count}; use fewer frames or another part of the split"
        )
