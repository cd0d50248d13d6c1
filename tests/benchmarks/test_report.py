"""What a benchmark leaves behind, and how it reads its command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from benchmarks import report
from benchmarks.command_line import parse
from benchmarks.report import Table, Target, target_table, write
from configs import loader


@dataclass(frozen=True)
class Example:
    checkpoint: str = "pusht"
    seed: int = 0
    scales: tuple[float, ...] = (1.0,)
    quick: bool = False


def test_result_holds_what_is_needed_to_repeat_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measures = {"psnr_10": 30.123456789, "psnr_10_ci": [29.0, 31.0], "nothing": float("nan")}
    table = target_table(measures, [Target("psnr_10", "at_least", 30.0, "PSNR of frame 10")])
    path = write("example", Example(seed=3), measures, [table], folder=str(tmp_path / "results"))
    result = json.loads(path.read_text())
    assert result["psnr_10"] == 30.1235 and result["nothing"] is None
    assert result["command"] == "python -m benchmarks.example seed=3"
    assert {"commit", "machine", "config"} <= result.keys()
    assert "| PSNR of frame 10 | 30.12 (29 to 31) | >= 30 | pass |" in path.with_suffix(".md").read_text()
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert json.loads(last)["psnr_10_ci"] == [29.0, 31.0]
    assert not list(path.parent.glob("*.part"))


def test_no_machine_paths_in_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = str(tmp_path / "runs" / "model"), "/somewhere/else/model"
    assert report.command("x", Example(inside)) == "python -m benchmarks.x checkpoint=runs/model"
    assert report.command("x", Example(outside, quick=True)) == "python -m benchmarks.x checkpoint=model --quick"
    path = write("x", Example(inside), {}, [], folder="results")
    assert str(tmp_path) not in path.read_text()


def test_command_of_a_tuple_reads_back() -> None:
    assert report.command("x", Example(scales=(1.0, 2.5))) == "python -m benchmarks.x 'scales=[1.0, 2.5]'"


@dataclass(frozen=True)
class Inner:
    gamma: float = 0.9
    limit: int | None = 3


@dataclass(frozen=True)
class Nested:
    inner: Inner = Inner(0.5)
    table: Mapping[str, dict[str, Any]] = field(default_factory=lambda: {"cem": {"horizon": 5, "start": "hold"}})
    free: Mapping[str, Any] = field(default_factory=dict)


def test_of_settings_within_settings_the_command_names_what_differs() -> None:
    assert report.command("x", Nested()) == "python -m benchmarks.x"
    changed = Nested(Inner(0.5, None), {"cem": {"horizon": 4, "start": "hold"}}, {"observation": "latent"})
    assert report.command("x", changed) == (
        "python -m benchmarks.x inner.limit=null table.cem.horizon=4 'free={observation: latent}'"
    )


def test_targets_are_judged_in_their_direction() -> None:
    targets = [Target("a", "at_least", 1.0, "a"), Target("b", "at_most", 1.0, "b"), Target("c", "at_most", 1.0, "c")]
    verdicts = [row[-1] for row in target_table({"a": 1.0, "b": 1.1, "c": float("nan")}, targets).rows]
    assert verdicts == ["pass", "FAIL", "FAIL"]


def test_markdown_of_a_table() -> None:
    lines = Table("T", ["a", "b"], [["1", "2"]]).markdown().splitlines()
    assert lines == ["## T", "", "| a | b |", "| --- | --- |", "| 1 | 2 |"]


NAMES = ("fidelity", "speed", "demo")


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_dataclass_agree(name: str) -> None:
    config_type = get_type_hints(importlib.import_module(f"benchmarks.{name}").main)["config"]
    assert parse(name, config_type, []) == config_type()
    keys = loader.load("eval", [f"benchmark={name}"])["benchmark"].keys() - {"base"}
    assert keys == {field.name for field in fields(config_type)}


@pytest.mark.parametrize("name", NAMES)
def test_unknown_key_names_the_nearest(name: str) -> None:
    config_type = get_type_hints(importlib.import_module(f"benchmarks.{name}").main)["config"]
    with pytest.raises(ValueError, match="'checkpiont'.*'checkpoint'"):
        parse(name, config_type, ["checkpiont=x"])


def test_quick_flag_and_values() -> None:
    from benchmarks.fidelity import FidelityConfig

    config = parse("fidelity", FidelityConfig, ["--quick", "num_clips=8", "sweep_scales=[1, 2.5]", "split=validation"])
    assert (config.quick, config.num_clips, config.sweep_scales, config.split) == (True, 8, (1, 2.5), "validation")
    with pytest.raises(ValueError, match="split"):
        parse("fidelity", FidelityConfig, ["split=tset"])
