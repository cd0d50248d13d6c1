"""Checkpoints of random weights in the published layout, and what loading one costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.conftest import WriteTiny
from world_model.checkpoints.measure import measure_load
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import TINY, main, write_synthetic


def test_the_command_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "deep" / "tiny.safetensors"), "--model", "csgo"]) == 0
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["tiny.safetensors"]
    tensors = load_file(tmp_path / "deep" / "tiny.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == published_shapes(TINY["csgo"])
    assert f"{len(tensors)} tensors" in capsys.readouterr().out


def test_shapes_of_a_manifest(tmp_path: Path) -> None:
    shapes = {"a.weight": [3, 2], "b": []}
    (tmp_path / "manifest.json").write_text(json.dumps({"tensors": shapes}))
    main([str(tmp_path / "x.ckpt"), "--manifest", str(tmp_path / "manifest.json")])
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert {name: list(t.shape) for name, t in content["state_dict"].items()} == shapes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "x.ckpt"]


def test_seeds(tmp_path: Path) -> None:
    shapes = {"a.weight": (5, 4), "b.bias": (3,)}
    files = [
        load_file(write_synthetic(tmp_path / f"{i}.safetensors", shapes, "safetensors", seed=seed))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert all(torch.equal(t, files[1][name]) for name, t in files[0].items())
    assert not any(torch.equal(t, files[2][name]) for name, t in files[0].items())


def test_values_keep_signals_in_range(tiny_checkpoint: WriteTiny) -> None:
    tensors = {name: t.float() for name, t in load_file(tiny_checkpoint("rt1")).items()}
    matrix = tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    assert float(matrix.flatten(1).norm(dim=1).mean()) == pytest.approx(1, abs=0.1)
    assert float(tensors["model.diffusion_model.out.0.weight"].mean()) == pytest.approx(1, abs=0.1)
    assert float(tensors["alphas_cumprod"][-1]) == 0
    assert tensors["scale_arr"].shape == (1400,) and float(tensors["scale_arr"][-1]) == pytest.approx(0.7, abs=1e-3)


@pytest.mark.slow
def test_the_cost_of_a_load_is_measured_in_its_own_process(tiny_checkpoint: WriteTiny, tmp_path: Path) -> None:
    cost = measure_load(tiny_checkpoint("rt1"))
    assert cost.seconds > 0 and cost.peak_bytes >= cost.before_bytes > 50e6
    assert 3e6 < cost.kept_bytes < 10e6 and cost.peak_ratio > 1
    with pytest.raises(ValueError, match="there is no such file or folder|no world model"):
        measure_load(tmp_path / "absent.ckpt")
