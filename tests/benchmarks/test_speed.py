"""Speed measurements run, and compare like with like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.recomputation import step_by_recomputation
from benchmarks.speed import SpeedConfig, main
from benchmarks.timing import Comparison, alternate
from world_model.model import WorldModel


@pytest.mark.parametrize("steps, scale", [(1, 1.0), (3, 1.0), (2, 1.5)])
def test_recomputation_agrees_with_streaming(tiny_model: WorldModel, steps: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    frames = tiny_model.config.window - 1
    latents = torch.randn(2, frames, *tiny_model.config.latent_shape, generator=generator)
    actions = 512 * torch.rand(2, frames, 2, generator=generator)
    sampling = replace(tiny_model.config.sampling, num_sampling_steps=steps, guidance_scale=scale)
    noise = torch.Generator().manual_seed(2)
    state = tiny_model.init_state(latents, actions[:, :-1], noise)
    _, streamed = tiny_model.step(state, actions[:, -1], noise, sampling)
    recomputed = step_by_recomputation(tiny_model, latents, actions, torch.Generator().manual_seed(2), sampling)
    assert streamed.std() > 0.1
    torch.testing.assert_close(streamed, recomputed, atol=2e-5, rtol=0)


def test_recomputation_refuses_what_does_not_fit_the_window(tiny_model: WorldModel) -> None:
    frames = tiny_model.config.window
    latents, actions = torch.zeros(1, frames, *tiny_model.config.latent_shape), torch.zeros(1, frames, 2)
    with pytest.raises(ValueError, match=f"at most {frames - 1}"):
        step_by_recomputation(tiny_model, latents, actions, torch.Generator(), tiny_model.config.sampling)


def test_sides_take_turns() -> None:
    order: list[str] = []
    comparison = alternate(lambda: order.append("a"), lambda: order.append("b"), rounds=3, repeats=(2, 1))
    assert "".join(order) == "ab" + "aab" * 3
    assert len(comparison.first) == len(comparison.second) == 3


def test_ratio_is_the_median_over_rounds() -> None:
    comparison = Comparison((1.0, 1.0, 2.0), (8.0, 9.0, 14.0))
    assert comparison.ratios == [8.0, 9.0, 7.0] and comparison.ratio == 8.0


def test_speed_end_to_end(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SpeedConfig(checkpoint=str(tiny_bundle), num_envs=2, steps=4, rounds=2, results=str(tmp_path))
    measures = main(config)
    for key in ("steps_per_s", "env_steps_per_s_2", "streaming_ratio_1", "streaming_ratio_2", "fork_percent"):
        assert measures[key] > 0
    for part in ("network", "decode", "encode"):
        assert measures[f"ms_{part}_1"] > 0 and measures[f"ms_{part}_2"] > 0
    assert measures["streaming_difference"] < 1e-4
    assert json.loads((tmp_path / "speed.json").read_text())["benchmark"] == "speed"
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["steps_per_s"] > 0
