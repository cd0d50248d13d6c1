"""From the Open X-Embodiment release of RT-1 (`fractal20220817_data`, RLDS in TFRecords) to `train_eps_XXXXXXXX.npz`.

Needs neither TensorFlow nor its datasets package. An episode is one record, an Example with everything of its T steps
in a row under names such as `steps/action/world_vector`. The published split goes by the numbers that TensorFlow
Datasets gives the episodes when it reads the release, so they are given here too. A killed conversion goes on where it
was.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from world_model.data.rt1 import ACTION_FIELDS
from world_model.data.tfrecord import Feature, count_records, parse_example, read_records
from world_model.progress import progress_bar

IMAGE = "steps/observation/image"
ACTION = "steps/action/"


def convert_rt1(
    source: str | Path,
    out: str | Path,
    split: str = "train",
    num_workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> int:
    """Write one npz per episode of a release folder, leaving out those that are there already.

    Args:
        source: folder with `*-SPLIT.tfrecord-00000-of-01024` and so on.
        out: folder for `SPLIT_eps_XXXXXXXX.npz`, each with `image` uint8 [T h w 3] and `action` float32 [T 13].
        num_workers: processes that convert, a file of the release each.
        overwrite: write those that are there once more.
        progress: show bars.

    Returns:
        number of episodes in `out` afterwards.

    Raises:
        ValueError: if there are no such files or some are missing or damaged; names them. What has been written is
            whole.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers: expected 1 or more, got {num_workers}")
    files = _files(Path(source), split)
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    lengths = [count_records(file) for file in progress_bar(files, f"counting {split}", "file", show=progress)]
    paths: list[dict[int, Path]] = [{} for _ in files]
    for number, (place, record) in enumerate(reading_order(lengths)):
        paths[place][record] = target / f"{split}_eps_{number:08d}.npz"
    work = [
        (file, {record: path for record, path in of_file.items() if overwrite or not path.exists()})
        for file, of_file in zip(files, paths, strict=True)
    ]
    with ExitStack() as stack:
        done: Iterable[None] = map(_convert_file, *zip(*work, strict=True))
        if num_workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(num_workers, get_context("spawn")))
            done = pool.map(_convert_file, *zip(*work, strict=True))
        for _ in progress_bar(done, f"converting {split}", "file", len(work), progress):
            pass
    return sum(lengths)


def reading_order(lengths: Sequence[int], cycle: int = 16, block: int = 16) -> list[tuple[int, int]]:
    """(file, record) in the order that TensorFlow Datasets reads files with so many records in.

    `cycle` files are open at a time and give `block` records in turn. A file that ends before its turn does makes room
    for the next one, which begins with the following round.
    """
    waiting = deque(range(len(lengths)))
    open_files: list[int | None] = [None] * cycle
    read = [0] * len(lengths)
    order: list[tuple[int, int]] = []
    while waiting or any(file is not None for file in open_files):
        for slot, current in enumerate(open_files):
            if current is None and not waiting:
                continue
            file = waiting.popleft() if current is None else current
            turn = range(read[file], min(read[file] + block, lengths[file]))
            order.extend((file, record) for record in turn)
            read[file] += len(turn)
            open_files[slot] = file if len(turn) == block else None
    return order


def rt1_episode(features: dict[str, Feature]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Frames uint8 [T h w 3] and actions float32 [T 13] of an episode's features.

    Raises:
        ValueError: if a feature is missing, has another length, or an image is damaged; names it.
    """
    missing = [name for name in (IMAGE, *(ACTION + field.name for field in ACTION_FIELDS)) if name not in features]
    if missing:
        raise ValueError(f"expected an RT-1 episode with {missing[0]}, got {sorted(features)[:4]}")
    encoded = features[IMAGE]
    columns = []
    for field in ACTION_FIELDS:
        values = features[ACTION + field.name]
        if isinstance(values, list) or len(values) != field.size * len(encoded):
            raise ValueError(
                f"{ACTION}{field.name}: expected {field.size} numbers for each of {len(encoded)} steps, got "
                f"{len(values)}"
            )
        columns.append(values.reshape(len(encoded), field.size).astype(np.float32))
    if not isinstance(encoded, list) or not encoded:
        raise ValueError(f"{IMAGE}: expected encoded images, got {len(encoded)} values")
    frames = [_decoded(image, step) for step, image in enumerate(encoded)]
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{IMAGE}: expected images of one size, got {sorted({frame.shape for frame in frames})}")
    return np.stack(frames), np.concatenate(columns, axis=1)


def _files(folder: Path, split: str) -> list[Path]:
    """All files of the split, in order, after looking whether some are missing."""
    files = sorted(folder.glob(f"*-{split}.tfrecord-*-of-*"))
    if not files:
        raise ValueError(f"{folder}: expected files *-{split}.tfrecord-00000-of-NNNNN, found none")
    total = int(files[0].name.rpartition("-of-")[2])
    places = [int(file.name.rpartition("-of-")[0].rpartition("-")[2]) for file in files]
    if places != list(range(total)):
        absent = sorted(set(range(total)) - set(places))
        raise ValueError(
            f"{folder}: expected {total} files of the {split} split, {len(absent)} are missing (first: {absent[:3]}); "
            "without them episodes would get other numbers"
        )
    return files


def _convert_file(file: Path, wanted: dict[int, Path]) -> None:
    """Write the wanted records of one file of the release."""
    if not wanted:
        return
    first = min(wanted)
    for record, content in enumerate(read_records(file, skip=first), start=first):
        if record in wanted:
            try:
                frames, actions = rt1_episode(parse_example(content))
            except ValueError as error:
                raise ValueError(f"{file}, record {record}: {error}") from error
            _write(wanted[record], frames, actions)


def _decoded(image: bytes, step: int) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(image)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{IMAGE}, step {step}: not readable as an image ({error})") from error


def _write(path: Path, frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, image=frames, action=actions)
    os.replace(temporary, path)
