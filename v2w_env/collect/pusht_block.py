"""PushT's block: its shape, how much of a frame's pixels it takes, and putting the simulator's where a frame shows it.

Every pixel of a PushT frame is a mixture of white, goal green, block grey and agent blue. Solving that mixture gives
each pixel's share of block and of agent, in real frames and in imagined ones alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

ARENA = 512.0
"""Side of the arena, in the simulator's units."""
IMAGE_SIZE = 64
"""Side of the image that pixels are counted in, whatever the size of the frames."""
BOXES = ((-60.0, 60.0, 0.0, 30.0), (-15.0, 15.0, 30.0, 120.0))
"""The bars of the tee in its own frame: x from, to, y from, to."""
CENTROID = np.array([0.0, 285.0 / 7.0])
"""Of the tee's area, in its own frame."""

# The simulator draws filled shapes in a lighter tone inside an outline; these are the means over each object's area.
_WHITE = (255.0, 255.0, 255.0)
_GOAL_GREEN = (144.0, 238.0, 144.0)
_BLOCK_GREY = (136.0, 155.0, 174.0)
_AGENT_BLUE = (73.0, 118.0, 245.0)

# Shares below the first value count as nothing (a decoder is never exactly white), above the second as full.
_SHARE_RANGE = (0.4, 0.8)

_SPACING = 6.0  # of the points at which a share is read
_OUTLINE = 12.0  # width of the strip around the tee that should hold none of it
_STRIP = 0.7  # how much that counts
_FAR, _TURNED = 2e-4, 0.02  # what a unit of distance and a radian cost: of places as good, the nearest
_STEPS = (  # offsets and turns that are tried, one after the other
    (np.arange(-12.0, 13.0, 4.0), np.arange(-0.24, 0.25, 0.08)),
    (np.arange(-2.0, 3.0, 2.0), np.arange(-0.04, 0.05, 0.04)),
)


def object_shares(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of agent and of block in each pixel, two arrays float64 [... h w] in [0, 1]."""
    # Three colour channels solve for three shares; the fourth, white, is what remains of one.
    difference = np.array(_WHITE) - np.asarray(frames, dtype=np.float64)
    palette = np.array(_WHITE) - np.array([_GOAL_GREEN, _BLOCK_GREY, _AGENT_BLUE])
    shares = difference @ np.linalg.inv(palette)
    # The wall line around the image is another grey, which the mixture takes for block; no object's centre lies there.
    border = -(-frames.shape[-2] // IMAGE_SIZE)
    block = _soften(shares[..., 1])
    block[..., :border, :] = block[..., -border:, :] = 0.0
    block[..., :border] = block[..., -border:] = 0.0
    return _soften(shares[..., 2]), block


def rotation(angle: float) -> NDArray[np.float64]:
    """[2 2]: `rotation(a) @ v` turns v from the frame of the tee into the arena's, `v @ rotation(a)` the other way."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def in_tee(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points [... 2], in the frame of the tee, lie in it."""
    x, y = points[..., 0], points[..., 1]
    bars = [(x >= low) & (x <= high) & (y >= top) & (y <= bottom) for low, high, top, bottom in BOXES]
    return bars[0] | bars[1]


def nearest_pose(share: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose near `pose` at which the tee fits a frame best, float64 [3]: x, y and angle as in `block_pose`.

    At most 14 units along x and y and 0.28 rad away: what a dream and the simulator can be apart after one step.

    Args:
        share: of block in each pixel [h w], see `object_shares`.
        pose: where to look from, [3].
    """
    points, weights = _points()
    height, width = share.shape
    centre, angle = pose[:2] + rotation(pose[2]) @ CENTROID, float(pose[2])
    for offsets, turns in _STEPS:
        tried = np.stack(np.meshgrid(offsets, offsets, turns, indexing="ij"), axis=-1).reshape(-1, 3)
        cos, sin = np.cos(angle + tried[:, 2, None]), np.sin(angle + tried[:, 2, None])
        x = centre[0] + tried[:, 0, None] + cos * points[:, 0] - sin * points[:, 1]
        y = centre[1] + tried[:, 1, None] + sin * points[:, 0] + cos * points[:, 1]
        column = np.clip((x * width / ARENA).astype(np.int64), 0, width - 1)
        row = np.clip((y * height / ARENA).astype(np.int64), 0, height - 1)
        fit = share[row, column] @ weights - _FAR * np.abs(tried[:, :2]).sum(axis=1) - _TURNED * np.abs(tried[:, 2])
        best = tried[fit.argmax()]
        centre, angle = centre + best[:2], angle + best[2]
    return np.array([*(centre - rotation(angle) @ CENTROID), angle])


def settle_pusht(env: gym.Env, frame: NDArray[np.uint8]) -> tuple[Any, dict[str, Any]]:
    """Put the block of a `gym_pusht/PushT-v0` where a frame uint8 [h w 3] shows it, near where it is.

    The agent stays: it goes where its actions say, whatever is in its way. A block that the frame does not show stays.

    Returns:
        the observation there, and `block_pose` as in the simulator's `info`.
    """
    simulator: Any = env.unwrapped
    block = simulator.block
    _, share = object_shares(frame)
    if not share.any():
        return simulator.get_obs(), {}
    x, y, angle = nearest_pose(share, np.array([*block.position, block.angle]))
    block.angle = float(angle)  # before the position: the simulator turns it round its centre of mass
    block.position = (float(x), float(y))
    block.space.reindex_shapes_for_body(block)
    return simulator.get_obs(), {"block_pose": np.array([x, y, angle])}


@lru_cache(maxsize=1)
def _points() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in and around the tee, relative to its centroid [n 2], and what a share of block counts there [n]."""
    grid = np.stack(np.meshgrid(np.arange(-75.0, 76.0, _SPACING), np.arange(-15.0, 136.0, _SPACING)), axis=-1)
    grid = grid.reshape(-1, 2)
    tee = grid[in_tee(grid)]
    away = np.abs(grid[:, None] - tee).max(axis=-1).min(axis=1)
    strip = grid[(away > 0) & (away <= _OUTLINE)]
    weights = [np.full(len(tee), 1 / len(tee)), np.full(len(strip), -_STRIP / len(strip))]
    return np.concatenate([tee, strip]) - CENTROID, np.concatenate(weights)


def _soften(share: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = _SHARE_RANGE
    return np.clip((share - low) / (high - low), 0.0, 1.0)
