"""What a plan costs: the measurement counts what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.plan_cost import PlanCostConfig, main, storages
from tests.conftest import make_tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    few_layers = {"channel_mult": (1,), "attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    model = make_tiny_model(frame_size=(8, 8), model_channels=8, **few_layers)
    rng = np.random.default_rng(0)
    clips = {
        "frames": rng.integers(0, 256, (3, 5, 8, 8, 3), np.uint8),
        "actions": rng.uniform(0, 512, (3, 4, 2)).astype(np.float32),
    }
    return model.save_pretrained(tmp_path_factory.mktemp("world"), clips)


def test_passes_and_memory_are_counted(checkpoint: Path, tmp_path: Path) -> None:
    config = PlanCostConfig(
        str(checkpoint), env_steps=3, num_candidates=6, num_iterations=2, goal_space="latent", environments=2,
        memory_candidates=10, repeats=1, results=str(tmp_path),
    )  # fmt: skip
    found = main(config)
    # One over the newest frame; two rounds, and once more for the finalists: each step is a pass over all candidates.
    assert found["network_passes"] == 1 + 3 * 3 and found["horizon"] == 3
    assert found["frames_imagined"] >= 2 * 6 * 3
    assert found["decoder_share"] == 0 and 0 < found["network_share"] <= 1
    assert found["copied_share"] == 0 and found["repeated_bytes"] < found["copies_bytes"] / 4
    assert found["repeated_bytes"] < found["stepped_bytes"]
    written = json.loads((tmp_path / "plan_cost.json").read_text())
    assert written["past_bytes"] == found["past_bytes"] and "a plan, one" in (tmp_path / "plan_cost.md").read_text()


def test_shared_memory_counts_once() -> None:
    whole = torch.zeros(100)
    assert sum(storages([whole[:10], (whole[50:], whole)]).values()) == 400
    assert sum(storages([whole, whole.clone()]).values()) == 800


@pytest.mark.parametrize("changes", [{"env_steps": 0}, {"repeats": 0}])
def test_sizes_are_checked(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        main(PlanCostConfig(**changes))  # type: ignore[arg-type]


def test_a_model_without_starts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no starts"):
        main(PlanCostConfig(str(make_tiny_model().save_pretrained(tmp_path)), goal_space="latent"))
