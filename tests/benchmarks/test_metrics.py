"""PSNR, SSIM and bootstrap against plain float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.metrics import PSNR_CEILING, estimate, estimate_ratio, psnr, ssim

Image = NDArray[np.float64]


@pytest.fixture
def pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two noisy versions of smooth clips, uint8 [2 3 24 20 3]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:20]
    base = 128 + 90 * np.sin(0.3 * y + rng.uniform(0, 6, (2, 3, 1, 1))) * np.cos(0.2 * x)
    clips = [np.clip(base[..., None] + rng.normal(0, s, (2, 3, 24, 20, 3)), 0, 255).astype(np.uint8) for s in (0, 12)]
    return clips[0], clips[1]


def ssim_by_definition(a: Image, b: Image) -> float:
    """SSIM of one channel [h w] as in Wang et al. 2004: Gaussian 11x11 (sigma 1.5), borders reflected."""
    a, b = np.pad(a, 5, mode="reflect"), np.pad(b, 5, mode="reflect")
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
            cov = (window * (p - mean_p) * (q - mean_q)).sum()
            top = (2 * mean_p * mean_q + c1) * (2 * cov + c2)
            values.append(top / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2)))
    return float(np.mean(values))


def test_psnr_is_the_definition_for_every_frame(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    a, b = pair
    values = psnr(a, b)
    assert values.shape == (2, 3)
    for clip in range(2):
        for frame in range(3):
            mse = np.mean((a[clip, frame].astype(float) - b[clip, frame].astype(float)) ** 2)
            assert values[clip, frame] == pytest.approx(20 * np.log10(255) - 10 * np.log10(mse), abs=1e-9)


def test_psnr_of_equal_frames_is_finite() -> None:
    frame = np.zeros((1, 16, 16, 3), np.uint8)
    assert psnr(frame, frame) == PSNR_CEILING


def test_ssim_is_the_definition_for_every_frame(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    a, b = pair
    values = ssim(a, b)
    assert values.shape == (2, 3)
    for clip, frame in ((0, 0), (1, 2)):
        channels = [
            ssim_by_definition(a[clip, frame, ..., c].astype(float), b[clip, frame, ..., c].astype(float))
            for c in range(3)
        ]
        assert values[clip, frame] == pytest.approx(np.mean(channels), abs=1e-9)
    np.testing.assert_allclose(ssim(a, a), 1.0, atol=1e-9)


def test_ssim_is_that_of_torchmetrics(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    a, b = (torch.from_numpy(frames[0]).permute(0, 3, 1, 2).double() for frames in pair)
    theirs = structural_similarity_index_measure(a, b, reduction="none", data_range=255.0)
    np.testing.assert_allclose(ssim(*pair)[0], np.asarray(theirs), atol=1e-7)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_frames_of_different_shape_or_type_are_refused(measure: type) -> None:
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        measure(frames, frames[:1])
    with pytest.raises(ValueError, match="float32"):
        measure(frames, frames.astype(np.float32))


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    estimates = [estimate(rng.normal(3, 1, 64), 0) for _ in range(200)]
    assert 0.88 <= np.mean([e.low <= 3.0 <= e.high for e in estimates]) <= 0.99


def test_estimates_are_reproducible_and_leave_out_nan() -> None:
    values = np.array([1.0, 2.0, np.nan, 6.0])
    result = estimate(values, seed=3)
    assert result == estimate(values, seed=3)
    assert (result.mean, result.clips) == (3.0, 3)
    assert estimate(np.array([np.nan]), 0).clips == 0


def test_ratio_is_of_means_over_clips_that_have_both() -> None:
    result = estimate_ratio(np.array([8.0, 16.0, np.nan]), np.array([1.0, 2.0, 5.0]), seed=0)
    assert result.mean == pytest.approx(8.0)
    assert result.low == pytest.approx(8.0) and result.high == pytest.approx(8.0)  # resampled together
    assert result.clips == 2
