"""RT-1 episodes as the published models were trained on: one `train_eps_XXXXXXXX.npz` per episode.

Each holds `image` uint8 [T 256 320 3] and `action` [T 13]; `action[t]` was commanded at frame t and leads to frame t+1,
so the last one leads nowhere and is dropped. Actions stay in the robot's own units. `world_model.data.rlds` writes such
files from the Open X-Embodiment release.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from world_model.data.episode import Episode
from world_model.data.files import FileEpisodes, numbered
from world_model.data.npz import npz_headers, npz_rows
from world_model.data.transforms import Letterbox
from world_model.types import ActionSpec

PATTERN = "train_eps_*.npz"
FPS = 3.0
PUBLISHED = Letterbox(320, 512)  # 256x320 frames become 320x400, with bars of 56 pixels left and right


class ActionField(NamedTuple):
    """Some columns of the action; `low` and `high` are those of the robot's action space."""

    name: str
    size: int
    low: float
    high: float


ACTION_FIELDS = (
    ActionField("base_displacement_vector", 2, -1.0, 1.0),
    ActionField("base_displacement_vertical_rotation", 1, -math.pi, math.pi),
    ActionField("gripper_closedness_action", 1, -1.0, 1.0),
    ActionField("rotation_delta", 3, -math.pi / 2, math.pi / 2),
    ActionField("terminate_episode", 3, 0.0, 1.0),
    ActionField("world_vector", 3, -1.0, 1.0),
)
ACTIONS = ActionSpec(
    "box",
    (sum(field.size for field in ACTION_FIELDS),),
    tuple(field.low for field in ACTION_FIELDS for _ in range(field.size)),
    tuple(field.high for field in ACTION_FIELDS for _ in range(field.size)),
)


class RT1Episodes(FileEpisodes):
    """Reader of a folder of `train_eps_XXXXXXXX.npz`; an episode's id is the number in its file's name."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob(PATTERN))
        if not paths:
            raise ValueError(f"{folder}: expected files {PATTERN}, found none; write them with world_model.data.rlds")
        super().__init__(folder, numbered(paths, [path.stem.rpartition("_")[2] for path in paths]))

    def action_spec(self) -> ActionSpec:
        return ACTIONS

    def fps(self) -> float:
        return FPS

    def count_frames(self, index: int) -> int:
        path = self.path(index)
        headers = npz_headers(path)
        if not {"image", "action"} <= headers.keys():
            raise ValueError(f"{path}: expected arrays 'image' and 'action', got {sorted(headers)}")
        image, action = headers["image"], headers["action"]
        if image.dtype != np.uint8 or len(image.shape) != 4 or image.shape[3] != 3:
            raise ValueError(f"{path}, image: expected uint8 [T h w 3], got {image.dtype} {image.shape}")
        if action.shape != (image.shape[0], ACTIONS.size):
            raise ValueError(f"{path}, action: expected {(image.shape[0], ACTIONS.size)}, got {action.shape}")
        return image.shape[0]

    def read(self, index: int, start: int, stop: int) -> Episode:
        path = self.path(index)
        frames = npz_rows(path, "image", start, stop)
        actions = npz_rows(path, "action", start, stop - 1).astype(np.float32)
        if not np.isfinite(actions).all():
            raise ValueError(f"{path}, action: expected finite numbers, got NaN or infinity")
        return Episode.from_video(frames, actions, index, complete=stop == self.num_frames(index))
