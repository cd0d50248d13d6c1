"""The verifier of PushT: how much of the goal area the block covers, and how it lies, read from frames alone.

The same program looks at real and at imagined frames. The goal of `gym_pusht/PushT-v0` never moves, so its area is
known; the block's share of each pixel comes from colour, as in `benchmarks/pusht_tracking.py`. A frame in which no
plausible block is seen covers nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.pusht_tracking import track
from v2w_env.collect.pusht_block import ARENA, CENTROID, IMAGE_SIZE, in_tee, object_shares, rotation

GOAL_POSE = (256.0, 256.0, np.pi / 4)
_ANGLES = 72
_SAMPLES = 4  # to a side of a pixel, of the goal area


def coverage(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the goal area that the block covers, float64 [n], in frames uint8 [n h w 3].

    A block exactly at the goal covers 1 less what the agent hides of it.
    """
    _, block = object_shares(frames)
    goal = goal_area(frames.shape[1], frames.shape[2])
    seen = ~np.isnan(track(frames).block).any(axis=-1)
    return np.where(seen, (np.minimum(block, goal) * goal).sum((-2, -1)) / (goal**2).sum(), 0.0)


def block_angle(share: NDArray[np.float64], centre: NDArray[np.float64]) -> float:
    """Angle of the tee, -pi to pi, whose area fits a block's share [h w] best, its centroid lying at `centre` [2].

    `centre` is in the simulator's units. Of 72 angles, refined by a parabola through the best three.
    """
    height, width = share.shape
    x = centre[0] + _turned_points()[..., 0]
    y = centre[1] + _turned_points()[..., 1]
    column = np.clip((x * width / ARENA).astype(np.int64), 0, width - 1)
    row = np.clip((y * height / ARENA).astype(np.int64), 0, height - 1)
    fit = share[row, column].mean(axis=1)
    best = int(fit.argmax())
    before, here, after = fit[best - 1], fit[best], fit[(best + 1) % _ANGLES]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < -1e-9 else 0.0
    angle = (best + float(np.clip(offset, -0.5, 0.5))) * 2 * np.pi / _ANGLES
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


@lru_cache(maxsize=4)
def goal_area(height: int, width: int) -> NDArray[np.float64]:
    """Share of each pixel that belongs to the goal, float64 [h w]."""
    y = (np.arange(height * _SAMPLES) + 0.5) * ARENA / (height * _SAMPLES)
    x = (np.arange(width * _SAMPLES) + 0.5) * ARENA / (width * _SAMPLES)
    away = np.stack(np.meshgrid(x, y), axis=-1) - np.array(GOAL_POSE[:2])
    inside = in_tee(away @ rotation(GOAL_POSE[2]))
    return inside.reshape(height, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3))


def scaled(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tracked positions, pixels of 64, in the simulator's units."""
    return positions * (ARENA / IMAGE_SIZE)


@lru_cache(maxsize=1)
def _turned_points() -> NDArray[np.float64]:
    """Points of the tee relative to its centroid at each angle, [angles points 2]."""
    grid = np.stack(np.meshgrid(np.arange(-57.0, 60.0, 6.0), np.arange(3.0, 120.0, 6.0)), axis=-1).reshape(-1, 2)
    points = grid[in_tee(grid)] - CENTROID
    return np.stack([points @ rotation(angle).T for angle in np.arange(_ANGLES) * 2 * np.pi / _ANGLES])
