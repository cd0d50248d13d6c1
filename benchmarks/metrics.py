"""Image measures per frame, and means over clips with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PSNR_CEILING = 60.0
"""dB that identical frames count as; the rounding to 8 bits alone is an error of 59 dB."""

_SSIM_WINDOW = 11
_SSIM_CHUNK = 64  # frames at a time; bounds the memory


def psnr(imagined: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each frame: uint8 [... h w 3] twice -> float64 [...], data range 255.

    Raises:
        ValueError: the two differ in shape, or are not uint8.
    """
    _check_pair(imagined, recorded)
    difference = imagined.astype(np.float64) - recorded.astype(np.float64)
    mean_square = np.mean(difference**2, axis=(-3, -2, -1))
    with np.errstate(divide="ignore"):
        return np.minimum(10.0 * np.log10(255.0**2 / mean_square), PSNR_CEILING)


def ssim(imagined: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Structural similarity of each frame (Gaussian window 11x11, sigma 1.5, borders reflected; mean of all channels).

    Shapes: uint8 [... h w 3] twice -> float64 [...]; h and w at least 11.

    Raises:
        ValueError: the two differ in shape, or are not uint8.
    """
    _check_pair(imagined, recorded)
    if min(imagined.shape[-3:-1]) < _SSIM_WINDOW:
        raise ValueError(f"frames: expected at least {_SSIM_WINDOW} pixels a side for SSIM, got {list(imagined.shape)}")
    pairs = [frames.reshape(-1, *frames.shape[-3:]) for frames in (imagined, recorded)]
    starts = range(0, len(pairs[0]), _SSIM_CHUNK)
    values = [_ssim_of_chunk(*(frames[start : start + _SSIM_CHUNK] for frames in pairs)) for start in starts]
    return np.concatenate(values).reshape(imagined.shape[:-3])


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with a 95 % bootstrap interval; NaN clips are left out and counted."""

    mean: float
    low: float
    high: float
    clips: int


def estimate(values: NDArray[np.float64], seed: int, resamples: int = 2000) -> Estimate:
    """Mean of values float64 [clips] and the 2.5 and 97.5 percentiles of the mean over resampled clips."""
    kept = _kept(values)
    if not len(kept):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    means = kept[_resample(len(kept), seed, resamples)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(kept.mean()), float(low), float(high), len(kept))


def estimate_ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], seed: int, resamples: int = 2000
) -> Estimate:
    """Ratio of the two means over the same clips, float64 [clips] each, resampled together."""
    both = ~(np.isnan(numerator) | np.isnan(denominator))
    top, bottom = numerator[both], denominator[both]
    if not len(top):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rows = _resample(len(top), seed, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = top[rows].mean(axis=1) / bottom[rows].mean(axis=1)
        ratio = float(np.divide(top.mean(), bottom.mean()))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(ratio, float(low), float(high), len(top))


def _kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values[~np.isnan(values)], dtype=np.float64)


def _resample(count: int, seed: int, resamples: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def _ssim_of_chunk(imagined: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [n h w 3] twice -> [n]. In float64: variances are differences of squares near 65,025, and in float32 even a
    frame compared with itself scores only 0.9996."""
    height, width = imagined.shape[1:3]
    rows, columns = _gaussian_rows(height), _gaussian_rows(width).T

    def local_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows @ x @ columns

    x, y = (np.moveaxis(frames.astype(np.float64), -1, 1) for frames in (imagined, recorded))
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return np.asarray(similarity.mean(axis=(1, 2, 3)))


@lru_cache(maxsize=8)
def _gaussian_rows(size: int) -> NDArray[np.float64]:
    """Matrix [size size] whose product with a column is its Gaussian local mean, the border reflected."""
    half = _SSIM_WINDOW // 2
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    source = np.pad(np.arange(size), half, mode="reflect")
    matrix = np.zeros((size, size))
    for row in range(size):
        np.add.at(matrix[row], source[row : row + _SSIM_WINDOW], weights / weights.sum())
    return matrix


def _check_pair(imagined: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> None:
    if imagined.shape != recorded.shape or imagined.dtype != np.uint8 or recorded.dtype != np.uint8:
        raise ValueError(
            "frames: expected two uint8 arrays [... h w 3] of one shape, got "
            f"{imagined.dtype} {list(imagined.shape)} and {recorded.dtype} {list(recorded.shape)}"
        )
