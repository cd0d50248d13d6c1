"""Which episodes train, which validate, which test: drawn once, by episode, and written down.

Windows of one episode look alike, so a split by window would test on what was trained on. The split lives in
`split.json` beside the data and is read back, never drawn again in silence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

SPLITS = ("train", "validation", "test")
DEFAULT_FRACTIONS: dict[str, float] = {"train": 0.9, "validation": 0.05, "test": 0.05}
FILE_NAME = "split.json"

Split = dict[str, list[int]]


def split_episodes(ids: Sequence[int], seed: int = 0, fractions: Mapping[str, float] | None = None) -> Split:
    """Divide episode ids into train, validation and test at random.

    Every part with a fraction above 0 gets at least one episode.

    Args:
        ids: the episodes.
        seed: of the draw; the same ids, seed and fractions give the same split.
        fractions: share of each part, summing to 1; by default 0.9, 0.05, 0.05.

    Returns:
        Sorted ids under "train", "validation" and "test".

    Raises:
        ValueError: if the fractions are not shares of 1, or there are fewer episodes than parts.
    """
    shares = {name: float((fractions or DEFAULT_FRACTIONS).get(name, 0.0)) for name in SPLITS}
    unknown = set(fractions or {}) - set(SPLITS)
    if unknown or min(shares.values()) < 0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise ValueError(f"fractions: expected shares of {SPLITS} that sum to 1, got {dict(fractions or {})}")
    if len(set(ids)) != len(ids):
        raise ValueError("ids: expected every episode once, got repeated ids")
    wanted = [name for name in SPLITS if shares[name] > 0]
    if len(ids) < len(wanted):
        raise ValueError(
            f"cannot split {len(ids)} episodes into {', '.join(wanted)}: record at least {len(wanted)} episodes"
        )
    order = np.random.default_rng(seed).permutation(np.asarray(ids, dtype=np.int64)).tolist()
    counts = {name: max(1, round(shares[name] * len(ids))) if shares[name] > 0 else 0 for name in SPLITS}
    while sum(counts.values()) != len(ids):  # rounding goes to (or comes from) the largest part
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] += 1 if sum(counts.values()) < len(ids) else -1
    split: Split = {}
    taken = 0
    for name in ("test", "validation", "train"):
        split[name] = sorted(order[taken : taken + counts[name]])
        taken += counts[name]
    return {name: split[name] for name in SPLITS}


def recorded_split(
    folder: Path,
    ids: Sequence[int],
    seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    extend: bool = False,
) -> Split:
    """The split in `folder/split.json`, drawn and written there if there is none yet.

    Args:
        folder: where the dataset lies.
        ids: the episodes of the dataset.
        seed: used only when the split is drawn.
        fractions: used only when the split is drawn.
        extend: let episodes recorded after the split was drawn join the training part; validation and test stay.

    Raises:
        ValueError: if the file is damaged, or does not fit the episodes of the dataset.
    """
    path = folder / FILE_NAME
    if not path.exists():
        split = split_episodes(ids, seed, fractions)
        _write(path, split, seed, fractions)
        return split
    try:
        content = json.loads(path.read_text())
        split = {name: [int(index) for index in content[name]] for name in SPLITS}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected lists of episode ids under {SPLITS}, could not read it ({error!r}); restore it, or "
            "delete it to draw a new split"
        ) from error
    known = [index for name in SPLITS for index in split[name]]
    if len(set(known)) != len(known):
        raise ValueError(f"{path}: an episode is in two parts of the split; restore the file or delete it to draw anew")
    missing = sorted(set(known) - set(ids))
    new = sorted(set(ids) - set(known))
    if missing:
        raise ValueError(
            f"{path}: names episodes that the dataset does not have (first: {missing[:5]}, dataset has {len(ids)}); it "
            "belongs to another dataset. Delete it to draw a new split"
        )
    if new and not extend:
        raise ValueError(
            f"{path}: covers {len(known)} episodes, the dataset has {len(ids)}. Pass extend_split=True to add the new "
            "ones to the training part (validation and test stay as they are), or delete the file to draw a new split"
        )
    if new:
        split["train"] = sorted([*split["train"], *new])
        _write(path, split, content.get("seed", seed), content.get("fractions", fractions))
    return split


def file_split(
    folder: Path, names: Mapping[int, str], seed: int = 0, validation_list: str | Path | None = None
) -> Split:
    """The split of a dataset that somebody else made; nothing is written beside it.

    The first that there is: the episodes of `validation_list` validate and all others train; `folder/split.json`; a
    draw, which is the same for the same episodes and seed. With fewer than three episodes all of them train.

    Args:
        names: of the episodes by id.
        validation_list: text file with a name per line, with or without folder and ending. Names that the dataset does
            not have are passed over, since published lists are longer than what people download.

    Raises:
        ValueError: if the list is missing or names no episode of the dataset, or `split.json` does not fit it.
    """
    ids = sorted(names)
    if validation_list is not None:
        held_out = listed_episodes(names, validation_list)
        return {"train": sorted(set(ids) - set(held_out)), "validation": held_out, "test": []}
    if (folder / FILE_NAME).exists():
        return recorded_split(folder, ids)
    if len(ids) < len(SPLITS):
        return {"train": ids, "validation": [], "test": []}
    return split_episodes(ids, seed)


def listed_episodes(names: Mapping[int, str], path: str | Path) -> list[int]:
    """Ids of the episodes whose names are in a text file, sorted.

    Raises:
        ValueError: if the file cannot be read, or has no name of an episode.
    """
    try:
        lines = Path(path).read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a text file with the name of an episode per line ({error})") from error
    listed = {PurePosixPath(line.strip()).stem for line in lines if line.strip()}
    chosen = [index for index, name in sorted(names.items()) if PurePosixPath(name).stem in listed]
    if not chosen:
        raise ValueError(
            f"{path}: names none of the dataset's {len(names)} episodes; it lists {sorted(listed)[:2]}, the dataset "
            f"has {list(names.values())[:2]}"
        )
    return chosen


def _write(path: Path, split: Split, seed: int, fractions: Mapping[str, float] | None) -> None:
    content = {"seed": seed, "fractions": dict(fractions or DEFAULT_FRACTIONS), **split}
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
