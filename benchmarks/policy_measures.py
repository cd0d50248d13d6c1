"""How well imagined scores of policies predict real ones: correlation, ranking, calibration, false success.

Conventions. Each policy has one score per world, the mean over the starts (a success rate, or a mean return).

- Pearson: of the policies' imagined and real scores. Spearman: the same of their ranks; tied scores share the mean of
  their ranks. Both are NaN where one side is constant, or with fewer than two policies.
- MMRV, mean maximum rank violation, as defined for SIMPLER (Li et al. 2024): for each policy the largest real
  difference to a policy that the dream puts on the wrong side of it, averaged over policies,
  `mean_i max_j |R_i - R_j| * [(D_i < D_j) != (R_i < R_j)]`, with D the imagined and R the real scores. Comparisons are
  strict, so that two policies that are tied in the dream and differ in reality count as a violation for the worse one.
  Scores are divided by the largest possible score first, so that 0 is perfect and 1 the worst.
- Intervals: percentiles 2.5 and 97.5 over 2,000 resamples of the starts, the same for all policies and both worlds.
  Resamples in which a measure is undefined (a constant side) are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000

Scores = NDArray[np.float64]


def pearson(imagined: ArrayLike, real: ArrayLike) -> float:
    """Correlation of two lists of scores; NaN where it is undefined."""
    x, y = _pair(imagined, real)
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / spread) if spread > 1e-12 else float("nan")


def spearman(imagined: ArrayLike, real: ArrayLike) -> float:
    """Pearson's correlation of the ranks; ties share their mean rank."""
    x, y = _pair(imagined, real)
    return pearson(ranks(x), ranks(y))


def ranks(values: ArrayLike) -> Scores:
    """Ranks from 1, float64 [n]; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2.0)[inverse]


def mmrv(imagined: ArrayLike, real: ArrayLike) -> float:
    """Mean maximum rank violation, see the head of this module; in the unit of `real`."""
    x, y = _pair(imagined, real)
    wrong = (x[:, None] < x[None]) != (y[:, None] < y[None])
    return float((np.abs(y[:, None] - y[None]) * wrong).max(axis=1).mean())


def agreement(imagined: Scores, real: Scores, full_score: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """Measures of scores float64 [policies starts] in both worlds, with their intervals under `KEY_ci`.

    `pearson`, `spearman` and `mmrv` as above; `bias` (mean imagined minus real score) and `calibration_error` (mean
    absolute difference), both divided by `full_score`; `slope` and `intercept` of real = slope * imagined + intercept.

    Raises:
        ValueError: shapes that differ, no policy or start, or values that are not finite.
    """
    imagined, real = np.asarray(imagined, np.float64) / full_score, np.asarray(real, np.float64) / full_score
    if imagined.shape != real.shape or imagined.ndim != 2 or 0 in imagined.shape:
        raise ValueError(f"scores: expected two arrays [policies starts], got {imagined.shape} and {real.shape}")
    for name, scores in (("imagined", imagined), ("real", real)):
        if not np.isfinite(scores).all():
            policy, start = np.argwhere(~np.isfinite(scores))[0]
            raise ValueError(f"{name} scores: expected finite numbers, got NaN for policy {policy}, start {start}")
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, imagined.shape[1], (RESAMPLES, imagined.shape[1]))
    x, y = imagined[:, draws].mean(-1), real[:, draws].mean(-1)
    measures: dict[str, Any] = {}
    for key, measure in (("pearson", pearson), ("spearman", spearman), ("mmrv", mmrv)):
        measures[key] = measure(imagined.mean(1), real.mean(1))
        interval_of(measures, key, np.array([measure(x[:, i], y[:, i]) for i in range(RESAMPLES)]))
    gap = imagined.mean(1) - real.mean(1)
    measures["bias"], measures["calibration_error"] = float(gap.mean()), float(np.abs(gap).mean())
    interval_of(measures, "bias", (x - y).mean(0))
    interval_of(measures, "calibration_error", np.abs(x - y).mean(0))
    spread = imagined.mean(1).std()
    measures["slope"] = measures["pearson"] * float(real.mean(1).std() / spread) if spread > 1e-12 else float("nan")
    measures["intercept"] = float(real.mean() - measures["slope"] * imagined.mean())
    return measures


def false_success(imagined: NDArray[np.bool_], real: NDArray[np.bool_]) -> float:
    """Share of attempts that fail in reality, any shape, which succeed in the dream; NaN where none fails."""
    failed = ~np.asarray(real, np.bool_)
    return float(np.asarray(imagined, np.bool_)[failed].mean()) if failed.any() else float("nan")


def score_interval(scores: Scores, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of scores [starts]."""
    draws = np.random.default_rng(seed).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(np.asarray(scores, np.float64)[draws].mean(1), [2.5, 97.5])
    return float(low), float(high)


def interval_of(measures: dict[str, Any], key: str, drawn: Scores) -> None:
    """Add the interval of `key`, if it is defined in at least one resample."""
    known = drawn[np.isfinite(drawn)]
    if len(known):
        measures[f"{key}_ci"] = [float(x) for x in np.percentile(known, [2.5, 97.5])]


def _pair(imagined: ArrayLike, real: ArrayLike) -> tuple[Scores, Scores]:
    x, y = np.asarray(imagined, np.float64), np.asarray(real, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"scores: expected two lists of equal length, got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    return x, y
