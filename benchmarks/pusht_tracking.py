"""Where the agent and the block of PushT are in a frame, from colour alone.

Every pixel of a PushT frame is a mixture of white, goal green, block grey and agent blue. Solving that mixture gives
each pixel's share of block and of agent, and the share-weighted mean of the pixel positions is a centroid that moves
continuously with the object, in real frames and in imagined ones alike. Nothing but the frame is read, so the same
measurement applies to both. Its own error, against the simulator's true positions on 5,285 frames of 35 recorded
episodes: agent 0.12 px on average (99th percentile 0.81, where the image cuts the disc), block 0.14 px (0.51).

Positions are in pixels of a 64-pixel-wide image, origin at the upper left corner of the image, x to the right: the
simulator's coordinates divided by 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v2w_env.collect.pusht_block import IMAGE_SIZE, object_shares

IMAGE_DIAGONAL = IMAGE_SIZE * 2**0.5
"""The error that a missing agent or block counts as, in pixels of 64."""

# Visible area in pixels of 64 outside of which an object counts as missing. Below: a twelfth of the disc (11.0; the
# image shows no more of an agent in a corner) and a quarter of the T (98.4). Above: four times and three times as much,
# for what is no object but a frame that has dissolved.
_AGENT_AREA = (0.9, 44.0)
_BLOCK_AREA = (24.6, 295.0)


@dataclass(frozen=True)
class Positions:
    """Tracked positions of n frames (any leading shape), float64 [... 2] as (x, y) in pixels of 64; NaN = missing."""

    agent: NDArray[np.float64]
    block: NDArray[np.float64]


def track(frames: NDArray[np.uint8]) -> Positions:
    """Locate agent and block in frames uint8 [... h w 3] of PushT.

    Raises:
        ValueError: the frames are not uint8 RGB.
    """
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"frames: expected uint8 [... h w 3], got {frames.dtype} {list(frames.shape)}")
    agent_share, block_share = object_shares(frames)
    return Positions(
        agent=_centroid(agent_share, _AGENT_AREA),
        block=_centroid(block_share, _BLOCK_AREA),
    )


def position_error(imagined: NDArray[np.float64], recorded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in pixels of 64, float64 [...], between positions [... 2].

    An object missing in the imagined frame counts as the image diagonal. Where it is missing in the recorded frame
    (hidden behind the other object) there is nothing to compare with and the error is NaN.
    """
    distance = np.linalg.norm(imagined - recorded, axis=-1)
    distance = np.where(np.isnan(imagined).any(axis=-1), IMAGE_DIAGONAL, distance)
    return np.where(np.isnan(recorded).any(axis=-1), np.nan, distance)


def _centroid(share: NDArray[np.float64], plausible_area: tuple[float, float]) -> NDArray[np.float64]:
    height, width = share.shape[-2:]
    x = (np.arange(width) + 0.5) * (IMAGE_SIZE / width)
    y = (np.arange(height) + 0.5) * (IMAGE_SIZE / height)
    total = share.sum(axis=(-2, -1))
    weighted = np.stack([share.sum(axis=-2) @ x, share.sum(axis=-1) @ y], axis=-1)
    area = total * (IMAGE_SIZE / width) * (IMAGE_SIZE / height)
    found = (area >= plausible_area[0]) & (area <= plausible_area[1])
    return np.where(found[..., None], weighted / np.where(found, total, 1.0)[..., None], np.nan)
