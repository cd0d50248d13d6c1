"""The Fréchet distance between two clouds of features, which FID and FVD are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Squared Fréchet distance of the Gaussians with the mean and covariance of each cloud.

    |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), in float64. The last trace is the sum of the singular
    values of factor1 factor2^T, where factor^T factor is a covariance: no square root of a matrix, and nothing goes
    wrong where there are fewer samples than features.

    Args:
        first: [n d], at least two samples.
        second: [m d], likewise.

    Raises:
        ValueError: fewer samples, other shapes, or values that are not finite.
    """
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != first.shape[1]:
            raise ValueError(
                "features: expected two arrays [n d] of at least 2 samples each, got "
                f"{list(first.shape)} and {list(second.shape)}"
            )
        if not np.isfinite(features).all():
            raise ValueError("features: expected finite numbers, got NaN or infinity")
    mean1, factor1 = _mean_and_factor(first)
    mean2, factor2 = _mean_and_factor(second)
    shared = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.sum(factor1**2) + np.sum(factor2**2) - 2.0 * shared
    return max(float(distance), 0.0)  # equal clouds end at minus a rounding error


def frechet_interval(
    first: Sequence[NDArray[np.floating]], second: Sequence[NDArray[np.floating]], seed: int, resamples: int
) -> tuple[float, float]:
    """A 95 % interval of `frechet_distance` over clips that are drawn again with repetition.

    Drawing again makes clouds look further apart than they are, so the deviations from the mean of the drawn distances
    are put around the distance itself.

    Args:
        first: for each clip its features [n d].
        second: likewise, of the same clips.
        resamples: draws; each costs as much as the distance itself.
    """
    value = frechet_distance(np.concatenate(first), np.concatenate(second))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(0, len(first), len(first))
        drawn.append(frechet_distance(*(np.concatenate([clips[row] for row in rows]) for clips in (first, second))))
    low, high = np.percentile(np.array(drawn) - np.mean(drawn), [2.5, 97.5])
    return max(value + float(low), 0.0), value + float(high)


def _mean_and_factor(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[d], and the triangular factor [min(n, d) d] of the covariance (of n - 1 degrees of freedom)."""
    samples = features.astype(np.float64)
    mean = samples.mean(axis=0)
    return mean, np.linalg.qr(samples - mean, mode="r") / np.sqrt(len(samples) - 1)
