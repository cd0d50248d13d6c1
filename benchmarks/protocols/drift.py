"""What can be said of an imagined film without a recorded one: whether it stays sharp, and whether it moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import Scores, View

_LUMA = np.array([0.299, 0.587, 0.114])


def drift(film: NDArray[np.uint8], context_frames: int, view: View) -> Scores:
    """Curves `sharpness` and `motion` over the imagined frames of a film uint8 [t h w 3].

    `sharpness` is the mean absolute Laplacian, 1 being that of the last context frame: a film that turns to mush goes
    to 0, one that fills with noise above 1. `motion` is the mean absolute change since the frame before, in grey levels
    of 255: a film that stops goes to 0.
    """
    luma = 255 * (view(film).movedim(1, -1).double().numpy() @ _LUMA)
    inside = luma[:, 1:-1, 1:-1]
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    detail = np.abs(4 * inside - around).mean(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = detail / detail[context_frames - 1]
    motion = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2))
    frames = tuple(range(context_frames, len(film)))
    return Scores(frames, {"sharpness": sharpness[context_frames:], "motion": motion[context_frames - 1 :]})
