"""Image measures per frame, and means over clips with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PSNR_CEILING = 60.0
"""dB that identical frames count as; the rounding to 8 bits alone is an error of 59 dB."""

Border = Literal["reflect", "valid"]
"""Where SSIM's window goes: over every pixel of the frame, whose border is reflected, or only where it fits."""

_SSIM_WINDOW = 11
_SSIM_PIXELS = 64 * 64 * 64  # at a time, that is 64 small frames; bounds the memory
_SSIM_BAND = 64  # rows of the local mean's matrix in one product


def mse(imagined: NDArray[Any], recorded: NDArray[Any]) -> NDArray[np.float64]:
    """Mean squared error of each frame, black 0 and white 1: [... h w 3] twice -> float64 [...].

    Raises:
        ValueError: as for `psnr`.
    """
    _check_pair(imagined, recorded)
    difference = imagined.astype(np.float64) - recorded.astype(np.float64)
    return np.asarray(np.mean(difference**2, axis=(-3, -2, -1)) / _white(imagined) ** 2)


def psnr(imagined: NDArray[Any], recorded: NDArray[Any]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each frame: [... h w 3] twice -> float64 [...].

    Raises:
        ValueError: the two differ in shape or type, or are neither uint8 nor floating and within [0, 1].
    """
    with np.errstate(divide="ignore"):
        return np.minimum(-10.0 * np.log10(mse(imagined, recorded)), PSNR_CEILING)


def ssim(imagined: NDArray[Any], recorded: NDArray[Any], border: Border = "reflect") -> NDArray[np.float64]:
    """Structural similarity of each frame (Gaussian window 11x11, sigma 1.5; mean of all channels).

    Shapes: [... h w 3] twice -> float64 [...]; h and w at least 11. Published numbers mostly take `border="valid"`.

    Raises:
        ValueError: as for `psnr`.
    """
    _check_pair(imagined, recorded)
    height, width = imagined.shape[-3:-1]
    if min(height, width) < _SSIM_WINDOW:
        raise ValueError(f"frames: expected at least {_SSIM_WINDOW} pixels a side for SSIM, got {list(imagined.shape)}")
    pairs = [frames.reshape(-1, *frames.shape[-3:]) for frames in (imagined, recorded)]
    chunk = max(1, _SSIM_PIXELS // (height * width))
    values = [
        _ssim_of_chunk(pairs[0][start : start + chunk], pairs[1][start : start + chunk], border)
        for start in range(0, len(pairs[0]), chunk)
    ]
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


def _ssim_of_chunk(imagined: NDArray[Any], recorded: NDArray[Any], border: Border) -> NDArray[np.float64]:
    """[n h w 3] twice -> [n]. In float64: variances are differences of squares near 65,025, and in float32 even a
    frame compared with itself scores only 0.9996."""
    white = _white(imagined)
    rows, columns = (_gaussian_bands(size, border) for size in imagined.shape[1:3])

    def local_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = np.concatenate([band @ x[..., first:last, :] for first, last, band in rows], axis=-2)
        return np.concatenate([x[..., first:last] @ band.T for first, last, band in columns], axis=-1)

    # Contiguous images: matrix products of strided ones take twenty times as long.
    x, y = (np.ascontiguousarray(np.moveaxis(frames, -1, 1), dtype=np.float64) for frames in (imagined, recorded))
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * white) ** 2, (0.03 * white) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return np.asarray(similarity.mean(axis=(1, 2, 3)))


@lru_cache(maxsize=8)
def _gaussian_bands(size: int, border: Border) -> list[tuple[int, int, NDArray[np.float64]]]:
    """The matrix whose product with a column of `size` pixels is its Gaussian local mean, cut into bands of rows.

    All of a band but the columns from `first` to `last` is zero, and left out.
    """
    half = _SSIM_WINDOW // 2
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    source = np.pad(np.arange(size), half, mode="reflect")
    matrix = np.zeros((size, size))
    for row in range(size):
        np.add.at(matrix[row], source[row : row + _SSIM_WINDOW], weights / weights.sum())
    if border == "valid":
        matrix = matrix[half : size - half]
    bands = []
    for start in range(0, len(matrix), _SSIM_BAND):
        band = matrix[start : start + _SSIM_BAND]
        used = np.flatnonzero(band.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, np.ascontiguousarray(band[:, first:last])))
    return bands


def _white(frames: NDArray[Any]) -> float:
    return 255.0 if frames.dtype == np.uint8 else 1.0


def _check_pair(imagined: NDArray[Any], recorded: NDArray[Any]) -> None:
    known = imagined.dtype == np.uint8 or np.issubdtype(imagined.dtype, np.floating)
    if imagined.shape != recorded.shape or imagined.dtype != recorded.dtype or not known:
        raise ValueError(
            "frames: expected two arrays [... h w 3] of one shape, both uint8 or both floating and within [0, 1], got "
            f"{imagined.dtype} {list(imagined.shape)} and {recorded.dtype} {list(recorded.shape)}"
        )
    if imagined.dtype != np.uint8 and imagined.size:
        low = float(min(imagined.min(), recorded.min()))
        high = float(max(imagined.max(), recorded.max()))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"frames: expected floating frames within [0, 1], got values from {low:g} to {high:g}")
