"""Published models stepped exactly and streamed: one noise, one start, and a report on both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.loading import load_model
from benchmarks.temporal_norms import TemporalNormsConfig, main, summarise
from benchmarks.temporal_sides import SIDES, dream, make_sides
from world_model.checkpoints.load import load
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.synthetic import TINY, write_synthetic
from world_model.model import WorldModel


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The published layout in small widths, with frames of 32x64."""
    folder = tmp_path_factory.mktemp("published")
    path = write_synthetic(folder / "rt1.safetensors", published_shapes(TINY["rt1"]), "safetensors")
    model = load(path, PublishedOptions(layout=PublishedLayout(frame_size=(32, 64))))
    return str(model.save_pretrained(folder / "bundle"))


@pytest.fixture
def model(published: str) -> WorldModel:
    return load_model(published, dtype="float32")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("rt1"), np.random.default_rng(0)
    for number, length in ((3, 18), (7, 17), (9, 6)):
        image = rng.integers(0, 256, (length, 16, 20, 3), dtype=np.uint8)
        action = rng.uniform(-1, 1, (length, 13)).astype(np.float32)
        np.savez(folder / f"train_eps_{number:08d}.npz", image=image, action=action)
    return str(folder)


def context(frames: int = 2) -> tuple[Any, torch.Tensor]:
    """Frames, and actions for two more."""
    rng = np.random.default_rng(1)
    actions = torch.from_numpy(rng.uniform(-1, 1, (frames + 1, 13)).astype(np.float32))
    return rng.integers(0, 256, (frames, 32, 64, 3), dtype=np.uint8), actions


def picture_of_latents(latents: torch.Tensor) -> torch.Tensor:
    """In place of a random decoder, which makes pure noise black."""
    return (latents[:, :, :3] / 8).repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2).clamp(-1, 1)


def test_end_to_end(published: str, recordings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TemporalNormsConfig(
        published,
        recordings,
        split="all",
        num_clips=2,
        horizon=2,
        num_sampling_steps=2,
        dtype="float32",
        results=str(tmp_path),
    )
    measures = main(config)
    assert measures["clips"] == 2
    for side in config.sides:
        assert 3 < measures[f"psnr_{side}"] < 40 and measures[f"seconds_{side}"] > 0
    for side in config.sides[1:]:
        assert 8 < measures[f"psnr_{side}_to_clip"] < 60
        assert measures[f"loss_{side}"] == pytest.approx(measures["psnr_clip"] - measures[f"psnr_{side}"], abs=1e-9)
        assert measures[f"speedup_{side}_min"] <= measures[f"speedup_{side}"] <= measures[f"speedup_{side}_max"]
    result = json.loads((tmp_path / "temporal_norms.json").read_text())
    assert result["frames"] == [2, 3] and len(result["curves"]["psnr_prefix_to_clip"]) == 2
    assert len(set(result["curves"]["psnr_frame_to_clip"])) == 2
    page = (tmp_path / "temporal_norms.md").read_text()
    assert "1 context frames, 2 imagined ones, 2 denoising steps, clips of rt1_ar" in page
    assert "| prefix |" in page and "not on those of the paper" not in page
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last.keys() == measures.keys() and last["psnr_clip"] == pytest.approx(measures["psnr_clip"], rel=1e-5)


def test_every_side_gets_the_same_noise(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that always says the same only the noise is felt; the paper's sampler leaves a little more of it."""
    monkeypatch.setattr(model, "decode", picture_of_latents)
    with torch.no_grad():
        model.network.conv_out.weight.zero_()
        model.network.conv_out.bias.copy_(torch.linspace(-0.2, 0.2, 4))  # type: ignore[union-attr]
    frames, actions = context()
    exact, *others = [
        dream(model, side, frames, actions, seed=3)
        for side in make_sides(model, SIDES, model.with_sampling(num_sampling_steps=4, guidance_scale=1.5))
    ]
    assert exact.frames.shape == (2, 32, 64, 3) and exact.frames.dtype == np.uint8 and exact.seconds.shape == (2,)
    for other in others:
        np.testing.assert_array_equal(other.frames, others[0].frames)
    assert (exact.frames != others[0].frames).mean() > 0.1
    assert (others[0].frames[0] != others[0].frames[1]).mean() > 0.5


def test_sides_may_take_turns(model: WorldModel) -> None:
    """The norms are exchanged in place: what one side does must not be felt by the next."""
    frames, actions = context()
    clip, prefix, frame = make_sides(model, ("clip", "prefix", "frame"), model.with_sampling(num_sampling_steps=2))
    first = [dream(model, side, frames, actions, seed=0).frames for side in (clip, prefix, frame)]
    again = [dream(model, side, frames, actions, seed=0).frames for side in (frame, prefix, clip)]
    for before, after in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(before, after)
    assert all((first[a] != first[b]).any() for a, b in ((0, 1), (1, 2), (0, 2)))
    other = dream(model, clip, frames, actions, seed=50).frames
    assert (other != first[0]).any()


def test_exact_is_the_references_mode(model: WorldModel) -> None:
    """One frame, so that `WorldModel.step` draws from a single generator."""
    frames, actions = context()
    side = make_sides(model, ("clip",), model.with_sampling(num_sampling_steps=3))[0]
    assert side.sampling.mode == "reference" and side.norm == "clip"
    film = dream(model, side, frames, actions[:2], seed=5).frames
    pixels = torch.from_numpy(frames[None]).movedim(-1, -3).float() / 127.5 - 1
    with torch.no_grad():
        latents = model.encode(pixels, torch.Generator().manual_seed(5))
        scene = model.scene(pixels[:, 0], latents[:, 0], side.sampling)
        state = model.init_state(latents, actions[None, :1], torch.Generator().manual_seed(6), side.sampling, scene)
        assert state.scene is not None and state.scene.dropped_context is not None
        _, latent = model.step(state, actions[None, 1], torch.Generator().manual_seed(7), side.sampling)
        expected = model.decode(latent[:, None])[0, 0].movedim(0, -1).add(1).mul(127.5).round().numpy()
    assert np.abs(film[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("steps", "level"), [(50, 39), (5, 399)])
def test_history_is_shown_at_the_references_level(model: WorldModel, steps: int, level: int) -> None:
    exact, streamed = make_sides(model, ("clip", "prefix"), model.with_sampling(num_sampling_steps=steps))
    assert streamed.sampling.history_noise_level == level
    assert exact.sampling.guidance_scale == streamed.sampling.guidance_scale == 2.5


def test_measures_are_what_they_say() -> None:
    curves = {
        "psnr_copy": np.full((3, 2), 10.0),
        "psnr_clip": np.array([[20.0, 22.0], [30.0, 28.0], [25.0, 25.0]]),
        "psnr_prefix": np.array([[19.0, 19.0], [29.0, 27.0], [23.0, 25.0]]),
        "psnr_prefix_to_clip": np.full((3, 2), 33.0),
        "seconds_clip": np.array([[4.0, 8.0], [4.0, 8.0], [6.0, 12.0]]),
        "seconds_prefix": np.array([[2.0, 2.0], [2.0, 1.0], [2.0, 2.0]]),
    }
    measures = summarise(curves, ("clip", "prefix"), seed=0)
    assert measures["psnr_clip"] == 25.0 and measures["loss_prefix"] == pytest.approx(4 / 3)
    assert measures["loss_prefix_ci"][0] >= 1.0 and measures["loss_prefix_ci"][1] <= 2.0
    assert measures["seconds_clip"] == 6.0 and measures["seconds_prefix"] == 2.0
    assert (measures["speedup_prefix_min"], measures["speedup_prefix"], measures["speedup_prefix_max"]) == (
        3.0,
        4.0,
        4.5,
    )
    assert measures["speedup_prefix_last"] == 6.0
    assert measures["psnr_copy"] == 10.0 and measures["psnr_prefix_to_clip_ci"] == [33.0, 33.0]


def test_quick_runs_stay_apart(
    published: str, recordings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    measures = main(TemporalNormsConfig(published, recordings, ("clip", "frame"), split="all", quick=True))
    assert measures["clips"] == 2 and "psnr_prefix" not in measures
    result = json.loads((tmp_path / "runs" / "benchmarks" / "temporal_norms.json").read_text())
    assert result["frames"] == [2, 3, 4]


def test_what_cannot_be_compared_is_named(published: str, recordings: str, tiny_bundle: Path, tmp_path: Path) -> None:
    config = TemporalNormsConfig(published, recordings, split="all", results=str(tmp_path))
    for changes, message in (
        ({"sides": ("prefix", "frame")}, "sides: expected some of clip, .* and clip among them"),
        ({"sides": ("clip", "clip")}, "sides: expected some of clip, .*each once"),
        ({"horizon": 0}, "horizon: expected at least 1, got 0"),
        ({"num_clips": 3}, "num_clips: rt1_ar expects 3 clips of 16 frames.*gives 2"),
        ({"dataset": str(tmp_path / "absent")}, "absent: no such folder; expected a dataset"),
        ({"checkpoint": str(tiny_bundle)}, "checkpoint: expected a published model.*got frame and standard"),
    ):
        with pytest.raises(ValueError, match=message):
            main(replace(config, **changes))
    assert list(tmp_path.iterdir()) == []
