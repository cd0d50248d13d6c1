"""What many scored films amount to: means over clips with their uncertainty, distances, and what actions are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import estimate, estimate_ratio
from benchmarks.perceptual.frechet import frechet_distance, frechet_interval
from benchmarks.scoring import Scores

FEW_FRAMES = 4
"""Up to so many compared frames, each has a distance of its own."""


@dataclass(frozen=True)
class Uncertainty:
    """How intervals are made: means by 2,000 draws of clips, Fréchet distances by `frechet_resamples` (0: none)."""

    seed: int = 0
    frechet_resamples: int = 0


@dataclass(frozen=True)
class Summary:
    """Flat `measures` with plain keys (KEY_ci holds the interval of KEY), and `curves` over the compared frames.

    Attributes:
        measures: `psnr` and so on, means over clips of means over frames; `fid`, `fvd`, and `fid_frame_N`.
        curves: for each measure of images `mean`, `low` and `high` at each frame.
        frames: the frames, counted from 1.
    """

    measures: dict[str, Any]
    curves: dict[str, dict[str, list[float]]]
    frames: tuple[int, ...]


def summarise(films: Sequence[Scores], uncertainty: Uncertainty) -> Summary:
    """Sum up films that were compared at the same frames.

    Raises:
        ValueError: no films, or of different frames or measures.
    """
    if not films:
        raise ValueError("films: expected at least one that is scored, got none")
    first = films[0]
    for film in films:
        if film.frames != first.frames or film.curves.keys() != first.curves.keys():
            raise ValueError("films: expected all to be scored at the same frames by the same measures")
    measures: dict[str, Any] = {"clips": len(films)}
    curves: dict[str, dict[str, list[float]]] = {}
    for key in first.curves:
        values = np.stack([film.curves[key] for film in films])
        total = estimate(values.mean(axis=1), uncertainty.seed)
        measures[key], measures[f"{key}_ci"] = total.mean, [total.low, total.high]
        at = [estimate(column, uncertainty.seed) for column in values.T]
        curves[key] = {name: [getattr(one, name) for one in at] for name in ("mean", "low", "high")}
    for key in ("fid", "fvd"):
        if f"{key}_imagined" in first.features:
            measures |= _distance(films, key, uncertainty)
    return Summary(measures, curves, tuple(frame + 1 for frame in first.frames))


def deltas(true: Sequence[Scores], random: Sequence[Scores], uncertainty: Uncertainty) -> dict[str, Any]:
    """Normalised delta metrics in percent (appendix D.9): 100 (M - M') / M', M of films under the recorded actions and
    M' of films of the same clips under random ones.

    How much a measure owes to the actions: above 0 is good where more is better, below 0 where less is. Measures of
    images are averaged over clips first; their intervals come from drawing clips again.
    """
    results: dict[str, Any] = {}
    for key in true[0].curves:
        means = [np.array([film.curves[key].mean() for film in films]) for films in (true, random)]
        ratio = estimate_ratio(means[0], means[1], uncertainty.seed)
        results[f"delta_{key}"] = 100 * (ratio.mean - 1)
        results[f"delta_{key}_ci"] = [100 * (ratio.low - 1), 100 * (ratio.high - 1)]
    for key in ("fid", "fvd"):
        if f"{key}_imagined" in true[0].features:
            ours, theirs = (_features_distance(films, key) for films in (true, random))
            results[f"delta_{key}"] = 100 * (ours - theirs) / theirs if theirs > 0 else float("nan")
    return results


def _distance(films: Sequence[Scores], key: str, uncertainty: Uncertainty) -> dict[str, Any]:
    result: dict[str, Any] = {key: _features_distance(films, key)}
    if uncertainty.frechet_resamples and len(films) > 1:
        pairs = [[film.features[f"{key}_{kind}"] for film in films] for kind in ("imagined", "recorded")]
        result[f"{key}_ci"] = list(
            frechet_interval(pairs[0], pairs[1], uncertainty.seed, uncertainty.frechet_resamples)
        )
    frames = films[0].frames
    if key == "fid" and 1 < len(frames) <= FEW_FRAMES:
        for place, frame in enumerate(frames):
            result[f"fid_frame_{frame + 1}"] = _features_distance(films, key, place)
    return result


def _features_distance(films: Sequence[Scores], key: str, place: int | None = None) -> float:
    """NaN where there are too few samples to have a covariance."""

    def cloud(kind: str) -> NDArray[np.floating]:
        features = [film.features[f"{key}_{kind}"] for film in films]
        return np.concatenate(features if place is None else [one[place : place + 1] for one in features])

    imagined, recorded = cloud("imagined"), cloud("recorded")
    return frechet_distance(imagined, recorded) if len(imagined) > 1 else float("nan")
