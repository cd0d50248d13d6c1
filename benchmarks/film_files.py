"""Films on disk: written as the release writes them, read back frame by frame, and found in pairs in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.film_layout import IMAGINED, IMAGINED_END, RECORDED, RECORDED_END
from world_model.data.extras import require
from world_model.data.video import read_video, video_facts


@dataclass(frozen=True)
class FilmPair:
    """A recorded film and the imagined one that belongs to it."""

    name: str
    recorded: Path
    imagined: Path


def find_pairs(folder: str | Path) -> list[FilmPair]:
    """All pairs in a folder and those below it, in either layout of the release, sorted by name.

    The layouts are NAME/gt_video.mp4 beside NAME/pred_video.mp4, and NAME_x_gt.mp4 beside NAME_x_pred.mp4.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it holds no pair, or one film without its partner.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"folder: expected a folder with films, there is none at {folder!r}")
    pairs, alone = [], []
    for film in sorted(root.rglob("*.mp4")):
        partner = _partner(film)
        if partner is not None and not partner.is_file():
            alone.append((film, partner))
        elif partner is not None and _is_recorded(film):
            pairs.append(FilmPair(_name(film, root), film, partner))
    if alone:
        film, partner = alone[0]
        raise ValueError(
            f"{root}: {len(alone)} films are without their partner; {film.relative_to(root)} needs "
            f"{partner.relative_to(root)} beside it. Add it, or take the film away"
        )
    if not pairs:
        raise ValueError(
            f"{root}: expected NAME/{RECORDED} with NAME/{IMAGINED}, or NAME{RECORDED_END} with NAME{IMAGINED_END}, "
            "found no such films"
        )
    return sorted(pairs, key=lambda pair: pair.name)


def read_pair(pair: FilmPair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The imagined and the recorded frames, uint8 [t h w 3] each.

    Raises:
        ValueError: a film is damaged, or they differ in length or size.
    """
    imagined, recorded = read_film(pair.imagined), read_film(pair.recorded)
    if imagined.shape != recorded.shape:
        raise ValueError(
            f"{pair.name}: expected two films of one length and size, got {_size(imagined)} in {pair.imagined.name} "
            f"and {_size(recorded)} in {pair.recorded.name}"
        )
    return imagined, recorded


def read_film(path: Path) -> NDArray[np.uint8]:
    """All frames of an mp4, uint8 [t h w 3].

    Raises:
        ValueError: the file is truncated, damaged, or no mp4; names it.
    """
    facts = video_facts(path)
    return read_video(path, 0, facts.num_frames, facts.fps)


def write_film(frames: NDArray[np.uint8], path: Path, fps: float, quality: int = 10) -> Path:
    """Write uint8 [t h w 3] as H.264 with the release's pixel format; the file appears whole or not at all.

    Args:
        quality: ffmpeg's constant rate factor, 0 (best) to 51; films of the release look like 10.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    height, width = frames.shape[1:3]
    writer = require("imageio_ffmpeg", "writing films").write_frames(
        str(temporary),
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p" if height % 2 == width % 2 == 0 else "yuv444p",
        macro_block_size=1,
        quality=None,
        output_params=["-crf", str(quality), "-threads", "1"],
        ffmpeg_log_level="error",
    )
    try:
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        os.replace(temporary, path)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
    return path


def _is_recorded(film: Path) -> bool:
    return film.name == RECORDED or film.name.endswith(RECORDED_END)


def _partner(film: Path) -> Path | None:
    if film.name in (RECORDED, IMAGINED):
        return film.with_name(IMAGINED if film.name == RECORDED else RECORDED)
    for end, other in ((RECORDED_END, IMAGINED_END), (IMAGINED_END, RECORDED_END)):
        if film.name.endswith(end):
            return film.with_name(film.name.removesuffix(end) + other)
    return None


def _name(film: Path, root: Path) -> str:
    inside = film.relative_to(root)
    if film.name == RECORDED:
        return inside.parent.as_posix() if inside.parent != Path() else root.resolve().name
    return inside.as_posix().removesuffix(RECORDED_END)


def _size(frames: NDArray[np.uint8]) -> str:
    return f"{frames.shape[0]} frames of {frames.shape[1]}x{frames.shape[2]}"
