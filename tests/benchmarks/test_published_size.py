"""What published models cost: measured on a tiny one here, and at full size in tests/checkpoints/test_full_size.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.published_size as published_size
from benchmarks.published_size import PublishedSizeConfig, main
from benchmarks.step_cost import (
    DECODER,
    ENCODER,
    IMAGE_TOWER,
    NETWORK,
    PROJECTOR,
    TEXT_TOWER,
    Phase,
    StepCost,
    StepCostConfig,
    measure_here,
    measure_step_cost,
    parse,
)
from benchmarks.stopwatch import Part
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import TINY, write_synthetic

PARTS = (NETWORK, ENCODER, DECODER, IMAGE_TOWER, PROJECTOR, TEXT_TOWER)


@pytest.fixture(scope="module")
def rt1(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("checkpoint") / "rt1.ckpt"
    return str(write_synthetic(path, published_shapes(TINY["rt1"])))


def phase(peak: int, **calls: int) -> Phase:
    parts = {name: Part(calls.get(name, 0), 2.0 * calls.get(name, 0), 1.0 * calls.get(name, 0)) for name in PARTS}
    return Phase(20.0, 10.0, parts, peak)


COST = StepCost(
    load=phase(5_000_000_000, text_tower=1),
    reset=phase(5_000_000_000, encoder=1, image_tower=1, projector=1),
    step=phase(6_000_000_000, network=4, decoder=2),
    before_bytes=400_000_000,
    kept_bytes=4_000_000_000,
    parameters={"network": 7, "autoencoder": 5, "image_tower": 3, "projector": 2, "all": 20},
    tensors_checked=3,
    frame="uint8 [320, 512, 3]",
    frame_std=50.0,
    frame_change=60.0,
    latent_std=0.6,
    threads=1,
)


def test_a_world_made_reset_and_stepped(rt1: str) -> None:
    cost = measure_here(StepCostConfig(rt1, temporal_norm="frame", num_sampling_steps=1))
    assert {name: part.calls for name, part in cost.load.parts.items() if part.calls} == {TEXT_TOWER: 1}
    once = {ENCODER: 1, IMAGE_TOWER: 1, PROJECTOR: 1}
    assert {name: part.calls for name, part in cost.reset.parts.items() if part.calls} == once
    assert {name: part.calls for name, part in cost.step.parts.items() if part.calls} == {NETWORK: 1, DECODER: 1}
    for one in (cost.load, cost.reset, cost.step):
        assert sum(part.seconds for part in one.parts.values()) < one.seconds and one.cpu_seconds > 0
    assert 1e8 < cost.load.peak_bytes <= cost.reset.peak_bytes <= cost.step.peak_bytes
    assert cost.frame == "uint8 [320, 512, 3]" and cost.frame_std > 1 and cost.frame_change > 1
    assert 0.01 < cost.latent_std < 10 and cost.tensors_checked > 5
    assert cost.kept_bytes == pytest.approx(2 * cost.parameters["all"], rel=0.01)
    assert parse(json.loads(json.dumps(asdict(cost)))) == cost


@pytest.mark.slow
def test_in_a_process_of_its_own(rt1: str, tmp_path: Path) -> None:
    """The paper's way, from several frames; and what a process says that fails."""
    cost = measure_step_cost(StepCostConfig(rt1, temporal_norm="clip", context_frames=3, steps=2))
    assert cost.step.parts[NETWORK].calls == 4 and cost.step.parts[DECODER].calls == 2
    assert cost.reset.parts[IMAGE_TOWER].calls == 2 and cost.step.parts[IMAGE_TOWER].calls == 0
    with pytest.raises(ValueError, match="no world model|no such file"):
        measure_step_cost(StepCostConfig(str(tmp_path / "absent.ckpt")))
    with pytest.raises(ValueError, match="rt1.ckpt: actions: the checkpoint's network takes 13 real numbers"):
        measure_step_cost(StepCostConfig(rt1, world="RECON"))


def record(costs: list[StepCostConfig]) -> Callable[[StepCostConfig], StepCost]:
    def measure(config: StepCostConfig) -> StepCost:
        assert Path(config.checkpoint).stat().st_size > 1e6
        costs.append(config)
        return COST

    return measure


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[StepCostConfig] = []
    monkeypatch.setattr(published_size, "measure_step_cost", record(asked))
    config = PublishedSizeConfig(
        size="tiny", folder=str(tmp_path / "room"), results=str(tmp_path), steps=2, remark="On a slow machine."
    )
    measures = main(config)
    assert [one.temporal_norm for one in asked] == ["clip", "frame"] and asked[0].steps == 2
    assert list((tmp_path / "room").iterdir()) == []
    assert measures["peak_ratio_load_clip"] == 1.25 and measures["peak_ratio_frame"] == 1.5
    assert measures["step_seconds_frame"] == 10.0 and measures["cpu_step_seconds_frame"] == 5.0
    assert measures["network_calls_frame"] == 2 and measures["network_seconds_frame"] == 4.0
    assert measures["image_tower_calls_clip"] == 0 and "image_tower_seconds_clip" not in measures
    assert measures["reset_image_tower_calls_clip"] == 1
    result = json.loads((tmp_path / "published_size.json").read_text())
    assert result["parameters"]["network"] == 7 and result["config"]["steps"] == 2
    assert result["command"].startswith("python -m benchmarks.published_size size=tiny")
    page = (tmp_path / "published_size.md").read_text()
    assert "| U-Net | 4.0 (2.0), 2 x | 4.0 (2.0), 2 x |" in page and "On a slow machine." in page
    assert "in multiples of the weights', frame | 1.25 | <= 1.3 | pass |" in page
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1]) == pytest.approx(measures)


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: StepCostConfig) -> StepCost:
        assert len(list(tmp_path.rglob("*.safetensors"))) == 1
        raise ValueError("ended by signal 9")

    monkeypatch.setattr(published_size, "measure_step_cost", fail)
    config = PublishedSizeConfig(size="tiny", folder=str(tmp_path), results=str(tmp_path / "results"))
    with pytest.raises(ValueError, match="ended by signal 9"):
        main(config)
    assert list(tmp_path.iterdir()) == []


def test_a_given_checkpoint_stays(rt1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[StepCostConfig] = []
    monkeypatch.setattr(published_size, "measure_step_cost", record(asked))
    main(PublishedSizeConfig(checkpoint=rt1, temporal_norms=("prefix",), results=str(tmp_path)))
    assert [one.checkpoint for one in asked] == [rt1] and Path(rt1).exists()


def test_quick_runs_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published_size, "measure_step_cost", record([]))
    main(PublishedSizeConfig(quick=True))
    assert sorted(path.name for path in tmp_path.rglob("published_size.*")) == [
        "published_size.json",
        "published_size.md",
    ]
    assert (tmp_path / "runs" / "benchmarks" / "published_size.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"context_frames": -1}, "context_frames: expected at least 1, got -1"),
        ({"temporal_norms": ()}, "temporal_norms: expected one or more of clip, prefix, frame"),
    ],
)
def test_bad_settings_say_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(replace(PublishedSizeConfig(), **changes))


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 2_000_000_000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(
        ValueError, match=r"folder: the random weights take 5\.7. GB, .* has 2\.00 GB free; name another"
    ):
        main(PublishedSizeConfig(folder=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
