"""RECON, outdoor drives of a small robot: a folder per trajectory with `0.jpg`, `1.jpg`, ... and `traj_data.pkl`.

The pickle holds `position` [T 2] in metres and `yaw` [T] in radians, both in a fixed frame; it is read without running
anything in it (`plain_pickle`). Actions are computed from the poses: how the robot moves from frame t to frame t+1.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from world_model.data.episode import Episode
from world_model.data.files import FileEpisodes
from world_model.data.plain_pickle import load_plain_pickle
from world_model.data.transforms import Letterbox
from world_model.types import ActionSpec

POSES = "traj_data.pkl"
FPS = 4.0
PUBLISHED = Letterbox(320, 512, content=(320, 320), aspect=4 / 3)  # bars of 96 pixels left and right
SPACING = 0.25  # metres, the distance that a motion is measured in
FORWARD = (-2.5, 5.0)  # motions, in units of SPACING, that become -1 and 1
SIDEWAYS = (-4.0, 4.0)
# Turns are in radians and not scaled.
ACTIONS = ActionSpec("box", (3,), (-1.0, -1.0, -math.pi), (1.0, 1.0, math.pi))


class ReconEpisodes(FileEpisodes):
    """Reader of trajectory folders; an episode's id is its folder's place in the sorted list."""

    random_access = True

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob(f"*/{POSES}"))
        if not paths:
            raise ValueError(f"{folder}: expected folders with {POSES} and images in them, found none")
        super().__init__(folder, dict(enumerate(paths)))

    def action_spec(self) -> ActionSpec:
        return ACTIONS

    def fps(self) -> float:
        return FPS

    def name(self, index: int) -> str:
        """Name of the trajectory's folder."""
        return self.path(index).parent.name

    def count_frames(self, index: int) -> int:
        return len(self._poses(index)[0])

    def read(self, index: int, start: int, stop: int) -> Episode:
        position, yaw = self._poses(index)
        folder = self.path(index).parent
        frames = [_image(folder / f"{number}.jpg") for number in range(start, stop)]
        if len({frame.shape for frame in frames}) > 1:
            raise ValueError(f"{folder}: expected images of one size, got {sorted({f.shape for f in frames})}")
        actions = motions(position[start:stop], yaw[start:stop])
        return Episode.from_video(np.stack(frames), actions, index, complete=stop == len(position))

    def _poses(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        path = self.path(index)
        poses = load_plain_pickle(path)
        if not isinstance(poses, dict) or not {"position", "yaw"} <= poses.keys():
            found = sorted(map(str, poses)) if isinstance(poses, dict) else type(poses).__name__
            raise ValueError(f"{path}: expected a dictionary with 'position' and 'yaw', got {found}")
        try:
            position, yaw = np.asarray(poses["position"], np.float64), np.asarray(poses["yaw"], np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected numbers under 'position' and 'yaw' ({error})") from error
        if position.ndim != 2 or position.shape[1] < 2 or yaw.size != len(position) or not len(position):
            raise ValueError(f"{path}: expected position [T 2] and yaw [T], got {position.shape} and {yaw.shape}")
        if not (np.isfinite(position).all() and np.isfinite(yaw).all()):
            raise ValueError(f"{path}: expected finite poses, got NaN or infinity")
        return position[:, :2], yaw.reshape(-1)


def motions(position: NDArray[np.float64], yaw: NDArray[np.float64]) -> NDArray[np.float32]:
    """Actions from poses: the motion from each pose to the next, as the robot sees it at the former.

    Args:
        position: [T 2] in metres, in a fixed frame.
        yaw: [T] in radians, the direction the robot looks in.

    Returns:
        [T-1 3]: forward and sideways (left is positive), in quarters of a metre scaled to [-1, 1] from FORWARD and
        SIDEWAYS (faster motions go beyond), and the turn in [-pi, pi).
    """
    step = np.diff(position, axis=0)
    cos, sin = np.cos(yaw[:-1]), np.sin(yaw[:-1])
    forward = (step[:, 0] * cos + step[:, 1] * sin) / SPACING
    sideways = (step[:, 1] * cos - step[:, 0] * sin) / SPACING
    turn = (np.diff(yaw) + np.pi) % (2 * np.pi) - np.pi
    return np.stack([_unit(forward, FORWARD), _unit(sideways, SIDEWAYS), turn], axis=1).astype(np.float32)


def _unit(values: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    low, high = bounds
    return 2 * (values - low) / (high - low) - 1


def _image(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing, though {POSES} has a pose for it") from error
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not readable as an image, truncated or damaged ({error})") from error
