"""Reading videos: how many frames there are, without decoding, and some of the frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from world_model.data.extras import require

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")  # the boxes on the way to the number of samples


class VideoFacts(NamedTuple):
    """num_frames of a video and its frames per second."""

    num_frames: int
    fps: float


def video_facts(path: Path) -> VideoFacts:
    """What an mp4's index says.

    Raises:
        ValueError: if the file is no mp4, is truncated, or holds no video; names it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            track: dict[str, bytes] = {}
            for kind, content in [*_boxes(file, 0, size, path), ("mdhd", b"")]:  # each track starts with an mdhd
                if kind == "mdhd" and track.get("hdlr", b"")[8:12] == b"vide" and {"stsz", "stts"} <= track.keys():
                    facts = _facts(track)
                    if not (facts.num_frames and facts.fps):
                        raise ValueError(
                            f"{path}: its index lists no frames, it was written in fragments; rewrite it with "
                            "`ffmpeg -i OLD.mp4 -c copy NEW.mp4`"
                        )
                    return facts
                track = {kind: content} if kind == "mdhd" else {**track, kind: content}
    except (OSError, IndexError, struct.error) as error:
        raise ValueError(f"{path}: not readable as mp4 ({error})") from error
    raise ValueError(f"{path}: expected an mp4 with a video in it, found none; the file is truncated or another format")


def read_video(path: Path, start: int, stop: int, fps: float, offset: float = 0.0) -> NDArray[np.uint8]:
    """Frames `start` to `stop - 1`, counted from the one shown at `offset` seconds.

    Args:
        fps: of the video.

    Returns:
        uint8 RGB `[t h w 3]`.

    Raises:
        ValueError: if the file cannot be decoded or ends too early; names it.
    """
    ffmpeg = require("imageio_ffmpeg", "reading videos", extra="data")
    # Half a frame early: times are rounded, and seeking gives the first frame at or after the time asked for.
    seek = max(0.0, offset + (start - 0.5) / fps)
    frames: list[NDArray[np.uint8]] = []
    reader = ffmpeg.read_frames(
        path,
        input_params=["-threads", "1", "-ss", f"{seek:.6f}"] if seek else ["-threads", "1"],
        output_params=["-frames:v", str(stop - start), "-fps_mode", "passthrough"],
    )
    try:
        width, height = next(reader)["size"]
        frames = [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]
    except (OSError, RuntimeError, StopIteration, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ValueError(f"{path}: cannot be decoded, truncated or damaged ({reason})") from error
    finally:
        reader.close()
    if len(frames) != stop - start:
        raise ValueError(
            f"{path}: expected {stop - start} frames from frame {start} on, could decode {len(frames)}; the file is "
            "truncated or damaged"
        )
    return np.stack(frames)


def _boxes(file: IO[bytes], start: int, end: int, path: Path) -> Iterator[tuple[str, bytes]]:
    """The innermost boxes of an mp4 (ISO/IEC 14496-12) on the way to its samples, in order."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = struct.unpack(">Q", file.read(8))[0], 16
        elif size == 0:
            size = end - start
        if size < header or start + size > end:
            raise ValueError(f"{path}: not a whole mp4, a box of {size} bytes is cut off; the file is truncated")
        if kind in CONTAINERS:
            yield from _boxes(file, start + header, start + size, path)
        elif kind in (b"mdhd", b"hdlr", b"stsz", b"stts"):
            file.seek(start + header)
            yield kind.decode(), file.read(size - header)
        start += size


def _facts(track: dict[str, bytes]) -> VideoFacts:
    wide = track["mdhd"][0] == 1
    (timescale,) = struct.unpack_from(">I", track["mdhd"], 20 if wide else 12)
    _, num_frames = struct.unpack_from(">II", track["stsz"], 4)
    (entries,) = struct.unpack_from(">I", track["stts"], 4)
    runs = [struct.unpack_from(">II", track["stts"], 8 + 8 * entry) for entry in range(entries)]
    duration = sum(count * delta for count, delta in runs)
    return VideoFacts(num_frames, num_frames * timescale / duration if duration else 0.0)
