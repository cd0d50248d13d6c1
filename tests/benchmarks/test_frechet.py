"""The Fréchet distance against an independent float64 computation, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.perceptual.frechet import frechet_distance, frechet_interval

Features = NDArray[np.float64]


def by_definition(first: Features, second: Features) -> float:
    """With the square root of cov1 by eigenvectors: tr (cov1 cov2)^(1/2) = tr (cov1^(1/2) cov2 cov1^(1/2))^(1/2)."""
    mean1, mean2 = first.mean(0), second.mean(0)
    cov1, cov2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
    return float(np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * inner)


@pytest.mark.parametrize(("n", "m", "dimensions"), [(200, 150, 8), (20, 30, 12), (6, 9, 40)])
def test_distance_is_the_definition(n: int, m: int, dimensions: int) -> None:
    """Also with fewer samples than dimensions, where covariances have no full rank."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(n, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + 3
    second = rng.normal(size=(m, dimensions)) @ rng.normal(size=(dimensions, dimensions))
    assert frechet_distance(first, second) == pytest.approx(by_definition(first, second), rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_known_answers() -> None:
    rng = np.random.default_rng(1)
    cloud = rng.normal(size=(50, 6))
    assert frechet_distance(cloud, cloud) == pytest.approx(0.0, abs=1e-9)
    shift = np.array([3.0, 0, 0, 4.0, 0, 0])
    assert frechet_distance(cloud, cloud + shift) == pytest.approx(25.0)
    spread = np.trace(np.cov(cloud, rowvar=False))
    assert frechet_distance(cloud, 3 * (cloud - cloud.mean(0)) + cloud.mean(0)) == pytest.approx(4 * spread)


def test_float32_features_lose_nothing() -> None:
    rng = np.random.default_rng(2)
    first = (1000 + 0.01 * rng.normal(size=(64, 4))).astype(np.float32)
    second = (1000 + 0.01 * rng.normal(size=(64, 4))).astype(np.float32)
    expected = by_definition(first.astype(np.float64), second.astype(np.float64))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_unusable_features_are_refused() -> None:
    good = np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"at least 2 samples each, got \[4, 3\] and \[1, 3\]"):
        frechet_distance(good, good[:1])
    with pytest.raises(ValueError, match=r"\[4, 2\]"):
        frechet_distance(good, good[:, :2])
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(good, np.full((4, 3), np.nan))


def test_interval_lies_around_the_distance_and_is_reproducible() -> None:
    rng = np.random.default_rng(3)
    first = [rng.normal(size=(3, 4)) for _ in range(40)]
    second = [rng.normal(size=(3, 4)) + 1 for _ in range(40)]
    distance = frechet_distance(np.concatenate(first), np.concatenate(second))
    low, high = frechet_interval(first, second, seed=0, resamples=60)
    assert low < distance < high and high - low < distance
    assert (low, high) == frechet_interval(first, second, seed=0, resamples=60)
