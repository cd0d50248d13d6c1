"""What of a film is measured, by what, and what many films amount to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio

from benchmarks.metrics import PSNR_CEILING, estimate, mse, psnr, ssim
from benchmarks.perceptual.frechet import frechet_distance
from benchmarks.scoring import METRICS, PIXEL_METRICS, Scorer, Scores, View, check_metrics
from benchmarks.summary import Uncertainty, deltas, summarise

Film = NDArray[np.uint8]


def film(seed: int = 0, length: int = 6, height: int = 24, width: int = 32) -> Film:
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), dtype=np.uint8)


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    return Scorer(PIXEL_METRICS, "vgg", tmp_path)


def test_mse_and_psnr_are_the_definition_on_bytes_and_on_floats() -> None:
    a, b = film(0), film(1)
    expected = ((a / 255 - b / 255) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(mse(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(mse(a / 255, b / 255), expected, rtol=1e-9)
    np.testing.assert_allclose(psnr(a / 255, b / 255), psnr(a, b), rtol=1e-9)
    for frame in range(len(a)):
        x, y = (torch.from_numpy(frames[frame]).double() for frames in (a, b))
        assert psnr(a, b)[frame] == pytest.approx(float(peak_signal_noise_ratio(x, y, data_range=255.0)), rel=1e-6)
    assert psnr(a[:1], a[:1]) == PSNR_CEILING


def test_ssim_within_the_border_is_the_definition() -> None:
    """Every place where the whole 11x11 window fits, and no other; frames larger than the bands it is computed in."""
    a, b = (film(seed, 1, 80, 20) // 2 + 60 for seed in (0, 1))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = 0.01**2, 0.03**2

    def local(x: NDArray[np.float64]) -> NDArray[np.float64]:
        patches = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
        return np.einsum("hwij,ij->hw", patches, window)

    channels = []
    for channel in range(3):
        x, y = a[0, ..., channel] / 255, b[0, ..., channel] / 255
        mx, my = local(x), local(y)
        covariance, variances = local(x * y) - mx * my, local(x * x) - mx**2 + local(y * y) - my**2
        value = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (variances + c2))
        assert value.shape == (70, 10)
        channels.append(value.mean())
    assert ssim(a, b, border="valid")[0] == pytest.approx(np.mean(channels), abs=1e-9)
    assert ssim(a / 255, b / 255, border="valid")[0] == pytest.approx(np.mean(channels), abs=1e-9)
    assert ssim(a, b)[0] != pytest.approx(np.mean(channels), abs=1e-6)  # the reflected border is another convention


def test_floats_outside_of_black_and_white_are_refused() -> None:
    frames = np.full((1, 16, 16, 3), 1.5)
    with pytest.raises(ValueError, match="within \\[0, 1\\], got values from 0 to 1.5"):
        mse(frames, np.zeros_like(frames))
    with pytest.raises(ValueError, match="int64"):
        psnr(frames.astype(np.int64), frames.astype(np.int64))


def test_view_crops_the_centre_and_resizes_as_the_release_does() -> None:
    frames = film(0, 2, 20, 32)
    seen = View(crop=(15, 32), size=(8, 16))(frames)
    kept = torch.from_numpy(frames[:, 2:17]).movedim(-1, 1).float() / 255
    expected = F.interpolate(kept, (8, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(View()(frames), torch.from_numpy(frames).movedim(-1, 1).float() / 255)
    with pytest.raises(ValueError, match="at least 21x32, got 20x32"):
        View(crop=(21, 32))(frames)


def test_scores_are_of_the_frames_in_view(scorer: Scorer) -> None:
    imagined, recorded = film(0), film(1)
    imagined[4] = recorded[4]
    scores = scorer(imagined, recorded, View(frames=(1, 4)))
    assert scores.frames == (1, 4)
    assert scores.curves["psnr"][1] == PSNR_CEILING > scores.curves["psnr"][0]
    assert scores.curves["mse"].shape == scores.curves["ssim"].shape == (2,)
    np.testing.assert_allclose(scores.curves["psnr"][0], psnr(imagined[1:2], recorded[1:2])[0], rtol=1e-4)
    with pytest.raises(ValueError, match="at least 8 frames, got 6"):
        scorer(imagined, recorded, View(frames=(7,)))


def test_networks_see_the_right_frames(tmp_path: Path) -> None:
    """All four kinds with stand-ins: images for LPIPS, DreamSim and FID, the whole film for FVD."""
    scorer = Scorer(PIXEL_METRICS, "vgg", tmp_path)
    scorer.metrics = METRICS
    scorer.networks = {
        "lpips": lambda a, b: (a - b).abs().mean((1, 2, 3)),
        "dreamsim": lambda a, b: (a - b).square().mean((1, 2, 3)),
        "fid": lambda images: images.mean((2, 3)),
        "fvd": lambda frames: torch.cat([frames.mean((0, 2, 3)), torch.tensor([float(len(frames))])]),
    }
    imagined, recorded = film(0, 12), film(1, 12)
    scores = scorer(imagined, recorded, View(frames=tuple(range(2, 12)), film=tuple(range(4, 12))))
    difference = imagined[2:] / 255 - recorded[2:] / 255
    np.testing.assert_allclose(scores.curves["lpips"], np.abs(difference).mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(scores.curves["dreamsim"], (difference**2).mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(scores.features["fid_recorded"], (recorded[2:] / 255).mean((1, 2)), rtol=1e-4)
    assert scores.features["fvd_imagined"].shape == (1, 4) and scores.features["fvd_imagined"][0, 3] == 8
    np.testing.assert_allclose(scores.features["fvd_imagined"][0, :3], (imagined[4:] / 255).mean((0, 1, 2)), rtol=1e-4)


def test_unknown_measures_and_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="psnrr"):
        check_metrics(["psnrr"], "vgg", tmp_path)
    with pytest.raises(ValueError, match="one or more"):
        check_metrics([], "vgg", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-7be5be79.pth.*download.pytorch.org"):
        Scorer(["psnr", "lpips"], "alex", tmp_path)


def scores(seed: int, shift: float = 0.0, frames: tuple[int, ...] = (3, 7)) -> Scores:
    rng = np.random.default_rng(seed)
    curves = {"psnr": 20 + shift + rng.normal(size=len(frames))}
    features = {
        "fid_imagined": rng.normal(size=(len(frames), 3)) + shift,
        "fid_recorded": rng.normal(size=(len(frames), 3)),
    }
    features |= {"fvd_imagined": rng.normal(size=(1, 4)) + shift, "fvd_recorded": rng.normal(size=(1, 4))}
    return Scores(frames, curves, {key: value.astype(np.float32) for key, value in features.items()})


def test_summary_has_means_intervals_and_distances() -> None:
    films = [scores(seed) for seed in range(12)]
    summary = summarise(films, Uncertainty(seed=1, frechet_resamples=20))
    values = np.stack([film.curves["psnr"] for film in films])
    total = estimate(values.mean(axis=1), 1)
    measures = summary.measures
    assert measures["psnr"] == pytest.approx(values.mean()) and measures["psnr_ci"] == [total.low, total.high]
    assert measures["clips"] == 12 and summary.frames == (4, 8)  # counted from 1
    np.testing.assert_allclose(summary.curves["psnr"]["mean"], values.mean(axis=0))
    assert summary.curves["psnr"]["low"][0] < summary.curves["psnr"]["mean"][0] < summary.curves["psnr"]["high"][0]
    for key in ("fid", "fvd"):
        clouds = [
            np.concatenate([film.features[f"{key}_{kind}"] for film in films]) for kind in ("imagined", "recorded")
        ]
        assert measures[key] == pytest.approx(frechet_distance(*clouds))
        assert measures[f"{key}_ci"][0] < measures[f"{key}_ci"][1]
    second = [np.stack([film.features[f"fid_{kind}"][1] for film in films]) for kind in ("imagined", "recorded")]
    assert measures["fid_frame_8"] == pytest.approx(frechet_distance(*second))


def test_summary_of_one_film_has_no_distance_of_films() -> None:
    measures = summarise([scores(0)], Uncertainty(frechet_resamples=5)).measures
    assert np.isnan(measures["fvd"]) and "fvd_ci" not in measures
    assert measures["fid"] > 0  # two frames are two samples


def test_films_of_different_frames_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="same frames"):
        summarise([scores(0), scores(1, frames=(3, 8))], Uncertainty())
    with pytest.raises(ValueError, match="at least one"):
        summarise([], Uncertainty())


def test_deltas_are_what_the_actions_are_worth() -> None:
    """100 (M - M') / M' of the means over clips, and of the distances."""
    true, random = [scores(seed) for seed in range(30)], [scores(seed, shift=-4.0) for seed in range(30)]
    found = deltas(true, random, Uncertainty())
    means = [np.mean([film.curves["psnr"] for film in films]) for films in (true, random)]
    assert found["delta_psnr"] == pytest.approx(100 * (means[0] - means[1]) / means[1])
    assert found["delta_psnr_ci"][0] < found["delta_psnr"] < found["delta_psnr_ci"][1]
    distances = [summarise(films, Uncertainty()).measures["fvd"] for films in (true, random)]
    assert found["delta_fvd"] == pytest.approx(100 * (distances[0] - distances[1]) / distances[1])
    assert found["delta_fvd"] < -50  # less is better, and under random actions there is more
