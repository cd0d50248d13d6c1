"""Imagined steps a second: measured on a small model, and mistakes are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.dream_speed import DreamSpeedConfig, main, summary


def test_medians_and_how_much_decoding_costs() -> None:
    measures = summary({"pixels": [100.0, 120.0, 80.0], "latent": [200.0, 180.0, 160.0]})
    assert measures == {"pixels_steps_per_s": 100.0, "latent_steps_per_s": 180.0, "latent_over_pixels": 2.0}


def test_end_to_end(tiny_bundle: Path, tmp_path: Path) -> None:
    config = DreamSpeedConfig(
        "Vid2World-v0", str(tiny_bundle), num_envs=2, num_sampling_steps=1, steps=2, rounds=2, results=str(tmp_path)
    )
    measures = main(config)
    assert all(value > 0 for value in measures.values())
    assert json.loads((tmp_path / "dream_speed.json").read_text())["benchmark"] == "dream_speed"
    assert "| latents |" in (tmp_path / "dream_speed.md").read_text()


def test_mistakes_are_named(tmp_path: Path) -> None:
    config = DreamSpeedConfig(results=str(tmp_path))
    with pytest.raises(ValueError, match="rounds: expected at least 1, got 0"):
        main(replace(config, rounds=0))
    with pytest.raises(ValueError, match="env_id: expected an imagined environment, got CartPole-v1"):
        main(replace(config, env_id="CartPole-v1"))
