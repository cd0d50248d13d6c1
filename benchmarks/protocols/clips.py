"""Which films a protocol asks for: the clips, and under which actions each is imagined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from benchmarks.protocols.actions import directions
from benchmarks.protocols.table import Protocol
from world_model.data.evaluation_clips import ClipPlace, csgo_clips, rt1_clips
from world_model.data.recorded import RecordedDataset

CSGO_EPISODES, CSGO_FRAMES, CSGO_CLIP = 500, 1000, 16


@dataclass(frozen=True)
class FilmTask:
    """One film to imagine.

    Attributes:
        name: of its files.
        place: episode and first frame.
        clip: number of the clip; films of one clip share the noise, so that only the actions tell them apart.
        direction: of the constant action, where there is one.
    """

    name: str
    place: ClipPlace
    clip: int
    direction: str | None = None


def choose_films(
    protocol: Protocol,
    dataset: RecordedDataset,
    part: str | None,
    num_clips: int | None,
    starts: Mapping[str, int] | None = None,
) -> list[FilmTask]:
    """The films of a protocol: always the same for the same dataset.

    Args:
        part: of the dataset's split.
        num_clips: the first so many of the protocol's clips; None for all.
        starts: first frame by name of the episode, in place of the protocol's own choice.

    Raises:
        ValueError: the dataset holds fewer clips of this length, or `starts` does not fit it.
    """
    wanted = protocol.clips if num_clips is None else num_clips
    needed = frames_needed(protocol)
    if wanted < 1:
        raise ValueError(f"num_clips: expected at least 1, got {wanted}")
    places = _listed(dataset, part, starts, needed) if starts is not None else _drawn(protocol, dataset, part, needed)
    if len(places) < wanted:
        ids = dataset.ids(part)
        short = [index for index in ids if dataset.num_frames(index) < needed]
        example = f"; {dataset.name(short[0])} has {dataset.num_frames(short[0])} frames" if short else ""
        raise ValueError(
            f"num_clips: {protocol.name} expects {wanted} clips of {needed} frames; {dataset.path} ({part or 'all'}) "
            f"gives {len(places)} ({len(ids)} episodes, {len(short)} too short{example}). Set num_clips={len(places)} "
            "or lower, or name another part with split="
        )
    names = _names(protocol, dataset, places[:wanted])
    films = [FilmTask(name, place, clip) for clip, (name, place) in enumerate(zip(names, places, strict=False))]
    if protocol.actions != "directions":
        return films
    labels = directions(dataset.action_spec.size)
    return [FilmTask(f"{film.name}_{label}", film.place, film.clip, label) for film in films for label in labels]


def frames_needed(protocol: Protocol) -> int:
    """Recorded frames of a clip; where nothing is compared with them, the context and at least one action."""
    return protocol.length if protocol.actions == "recorded" else max(protocol.context_frames, 2)


def published_csgo_starts(names: Sequence[str]) -> dict[str, int]:
    """The release's starts, drawn once by NumPy's old generator for its 500 test episodes sorted by path."""
    draws = np.random.RandomState(42).randint(0, CSGO_FRAMES - CSGO_CLIP, CSGO_EPISODES)
    return {name: int(start) for name, start in zip(sorted(names), draws, strict=True)}


def _drawn(protocol: Protocol, dataset: RecordedDataset, part: str | None, needed: int) -> list[ClipPlace]:
    ids = dataset.ids(part)
    if not any(dataset.num_frames(index) >= needed for index in ids):
        return []
    if protocol.selection == "csgo":
        complete = len(ids) == CSGO_EPISODES and all(dataset.num_frames(index) == CSGO_FRAMES for index in ids)
        stored = published_csgo_starts([dataset.name(index) for index in ids]) if complete else None
        if stored is not None and needed <= CSGO_CLIP:
            return csgo_clips(dataset, needed, protocol.clips, stored=stored, part=part)
        return csgo_clips(dataset, needed, protocol.clips, part=part)
    if protocol.selection == "one_per_episode":
        return rt1_clips(dataset, needed, protocol.clips, part=part)
    by_name = sorted((index for index in ids if dataset.num_frames(index) >= needed), key=dataset.name)
    if protocol.selection == "images":
        return [ClipPlace(index, 0) for index in by_name]
    return rt1_clips(dataset, needed, len(ids), part=part)[: protocol.clips]


def _listed(dataset: RecordedDataset, part: str | None, starts: Mapping[str, int], needed: int) -> list[ClipPlace]:
    by_stem = {_stem(dataset.name(index)): index for index in dataset.ids(part)}
    places = []
    for name, start in starts.items():
        index = by_stem.get(_stem(name))
        if index is None:
            raise ValueError(f"starts: {dataset.path} ({part or 'all'}) has no episode {name!r}; it has {len(by_stem)}")
        frames = dataset.num_frames(index)
        if not 0 <= start <= frames - needed:
            raise ValueError(
                f"starts: {name} has {frames} frames, too few for a clip of {needed} from frame {start} on; expected a "
                f"start within 0 and {frames - needed}"
            )
        places.append(ClipPlace(index, start))
    return places


def _names(protocol: Protocol, dataset: RecordedDataset, places: Sequence[ClipPlace]) -> list[str]:
    """The episode's name and, as in the release for RECON, the time; the others have one clip per episode."""
    names = [_stem(dataset.name(place.episode)) for place in places]
    if protocol.layout == "flat" or len(set(names)) < len(names):
        names = [f"{name}_t{place.start:04d}" for name, place in zip(names, places, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name}_{place.episode}" for name, place in zip(names, places, strict=True)]
    return names


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
