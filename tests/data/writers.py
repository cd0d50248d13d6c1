"""Small datasets in every format, written the way the originals are.

Frame t of episode e is one grey, `shade(e, t)`; the first number of action t is t and tells that it leads from there.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from imageio_ffmpeg import write_frames
from PIL import Image

from world_model.data.crc32c import crc32c
from world_model.data.rt1 import ACTION_FIELDS

HEIGHT, WIDTH = 16, 32
FPS = 5.0
CAMERA = "observation.images.top"


def shade(episode: int, frame: int) -> int:
    return (8 + 40 * episode + 4 * frame) % 240


def grey_frames(episode: int, length: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    levels = np.array([shade(episode, frame) for frame in range(length)], np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (length, height, width, 3)).copy()


def counted_actions(episode: int, length: int, size: int) -> np.ndarray:
    actions = np.zeros((length, size), np.float32)
    actions[:, 0] = np.arange(length)
    actions[:, 1] = episode
    return actions


def write_rt1(folder: Path, lengths: Sequence[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for episode, length in enumerate(lengths):
        np.savez_compressed(
            folder / f"train_eps_{episode:08d}.npz",
            image=grey_frames(episode, length),
            action=counted_actions(episode, length, 13),
        )
    return folder


def write_csgo(folder: Path, lengths: Sequence[int]) -> Path:
    """Blue is one level higher than the shade and red one level lower."""
    folder.mkdir(parents=True, exist_ok=True)
    for episode, length in enumerate(lengths):
        with h5py.File(folder / f"hdf5_dm_july2021_{episode}.hdf5", "w") as file:
            for number, frame in enumerate(grey_frames(episode, length)):
                keys = np.zeros(51)
                keys[number] = 1
                file[f"frame_{number}_x"] = frame + np.array([1, 0, -1]).astype(np.uint8)
                file[f"frame_{number}_y"] = keys
                file[f"frame_{number}_xaux"] = np.zeros(4)
    return folder


def write_recon(folder: Path, lengths: Sequence[int]) -> Path:
    """The robot drives 0.25 m further forward with every frame, and does not turn."""
    for episode, length in enumerate(lengths):
        trajectory = folder / f"jackal_{episode}"
        trajectory.mkdir(parents=True)
        for number, frame in enumerate(grey_frames(episode, length)):
            Image.fromarray(frame).save(trajectory / f"{number}.jpg", quality=95)
        step = 0.25 * np.arange(length)
        distance = np.cumsum(np.concatenate([[0.0], step[:-1]]))
        poses = {"position": np.stack([distance, np.zeros(length)], axis=1), "yaw": np.zeros(length)}
        (trajectory / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    return folder


def write_film(path: Path, frames: np.ndarray, fps: float = FPS, extra: Sequence[str] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    writer = write_frames(
        path, (width, height), fps=fps, quality=None, macro_block_size=1, output_params=["-crf", "1", "-g", "3", *extra]
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


def write_recordings(folder: Path, lengths: Sequence[int]) -> Path:
    for episode, length in enumerate(lengths):
        write_film(folder / f"{episode:09d}.mp4", grey_frames(episode, length))
        np.savez(folder / f"{episode:09d}.npz", counted_actions(episode, length, 3))
    return folder


def write_lerobot(folder: Path, lengths: Sequence[int], as_images: bool = False) -> Path:
    """All episodes in one parquet file and one film, as version 3 packs them."""
    frames = [grey_frames(episode, length) for episode, length in enumerate(lengths)]
    image = {"dtype": "image" if as_images else "video", "shape": [HEIGHT, WIDTH, 3]}
    features = {
        CAMERA: image,
        "action": {"dtype": "float32", "shape": [2]},
        "next.reward": {"dtype": "float32", "shape": [1]},
        "next.done": {"dtype": "bool", "shape": [1]},
    }
    info = {"codebase_version": "v3.0", "fps": FPS, "total_episodes": len(lengths), "features": features}
    for name in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / name).mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    stats = {"action": {"min": [0.0, 0.0], "max": [max(lengths) - 1.0, len(lengths) - 1.0]}}
    (folder / "meta" / "stats.json").write_text(json.dumps(stats))
    rows: list[dict[str, Any]] = []
    places = []
    for episode, length in enumerate(lengths):
        begin = len(rows)
        places.append(
            {
                "episode_index": episode,
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": 0,
                "dataset_from_index": begin,
                "dataset_to_index": begin + length,
                f"videos/{CAMERA}/chunk_index": 0,
                f"videos/{CAMERA}/file_index": 0,
                f"videos/{CAMERA}/from_timestamp": begin / FPS,
                f"videos/{CAMERA}/to_timestamp": (begin + length) / FPS,
            }
        )
        for number, action in enumerate(counted_actions(episode, length, 2)):
            row = {
                "action": action.tolist(),
                "episode_index": episode,
                "frame_index": number,
                "next.reward": 0.5 * number,
                "next.done": number == length - 1,
            }
            if as_images:
                row[CAMERA] = {"bytes": encoded(frames[episode][number], "PNG"), "path": None}
            rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.Table.from_pylist(places), folder / "meta/episodes/chunk-000/file-000.parquet")
    if not as_images:
        write_film(folder / "videos" / CAMERA / "chunk-000" / "file-000.mp4", np.concatenate(frames))
    return folder


WRITERS: dict[str, Callable[[Path, Sequence[int]], Path]] = {
    "rt1": write_rt1,
    "csgo": write_csgo,
    "recon": write_recon,
    "recordings": write_recordings,
    "lerobot": write_lerobot,
}


# The Open X-Embodiment release ---------------------------------------------------------------------------------------


def encoded(frame: np.ndarray, kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, kind)
    return buffer.getvalue()


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, Any]) -> bytes:
    """A serialised `tf.train.Example` of lists of bytes, float arrays and integer arrays."""
    entries = b""
    for name, values in features.items():
        if isinstance(values, list):
            feature = field(1, b"".join(field(1, value) for value in values))
        elif values.dtype.kind == "f":
            feature = field(2, field(1, values.astype("<f4").tobytes()))
        else:
            feature = field(3, field(1, b"".join(varint(int(value)) for value in values)))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def record(content: bytes) -> bytes:
    def masked(data: bytes) -> bytes:
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def rt1_features(episode: int, length: int) -> dict[str, Any]:
    """Column k of the 13 holds 100 * k plus the step."""
    features: dict[str, Any] = {
        "steps/observation/image": [encoded(frame, "PNG") for frame in grey_frames(episode, length)],
        "steps/is_first": (np.arange(length) == 0).astype(np.int64),
        "episode_id": [b"unread"],
    }
    column = 0
    for part in ACTION_FIELDS:
        values = 100 * np.arange(column, column + part.size)[None] + np.arange(length)[:, None]
        whole = part.name == "terminate_episode"  # the release stores these as integers
        features[f"steps/action/{part.name}"] = values.reshape(-1).astype(np.int64 if whole else np.float32)
        column += part.size
    return features


def write_release(folder: Path, records: Sequence[int], length: int = 3) -> Path:
    """Files with so many episodes each; episodes are numbered in the order in which they are written."""
    folder.mkdir(parents=True)
    episode = 0
    for place, count in enumerate(records):
        content = b""
        for _ in range(count):
            content += record(example(rt1_features(episode, length)))
            episode += 1
        (folder / f"fractal20220817_data-train.tfrecord-{place:05d}-of-{len(records):05d}").write_bytes(content)
    return folder
