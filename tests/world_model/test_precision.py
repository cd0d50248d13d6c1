"""Models run in the type they ask for, where the processor is fast in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import world_model.precision as precision
from benchmarks.loading import digest, load_model
from tests.conftest import make_tiny_model
from v2w_env.config import EnvConfig
from v2w_env.weights import load_model as load_for_env


@pytest.fixture(params=[False, True], ids=["without", "with"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor without, and one with, instructions for bfloat16."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: request.param)
    return bool(request.param)


@pytest.fixture
def asks_for_bfloat16(tmp_path: Path) -> Path:
    """A bundle of a model that wants to be run in bfloat16."""
    model = make_tiny_model()
    model.config = replace(model.config, dtype="bfloat16")
    return model.save_pretrained(tmp_path / "tiny")


def test_bfloat16_is_left_to_processors_that_have_it(native: bool) -> None:
    assert precision.inference_dtype("bfloat16") is (torch.bfloat16 if native else torch.float32)
    assert precision.inference_dtype("float32") is torch.float32
    assert precision.inference_dtype("bfloat16", "cuda") is torch.bfloat16


@pytest.mark.parametrize(
    ("machine", "taken", "avx512_bf16", "amx", "fast"),
    [
        ("x86_64", True, True, False, True),
        ("AMD64", True, False, True, True),
        ("x86_64", True, False, False, False),  # AVX-512 alone: oneDNN takes bfloat16 and converts it
        ("x86_64", False, False, False, False),
        ("aarch64", True, False, False, True),
    ],
)
def test_processors_that_only_convert_bfloat16_are_slow_in_it(
    machine: str, taken: bool, avx512_bf16: bool, amx: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: taken)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision.cpu_has_bfloat16.__wrapped__() is fast


def test_the_processor_is_asked_without_an_error() -> None:
    assert precision.cpu_has_bfloat16() in (True, False)


def test_environments_and_benchmarks_follow_and_may_be_told_otherwise(native: bool, asks_for_bfloat16: Path) -> None:
    bundle = asks_for_bfloat16
    expected = torch.bfloat16 if native else torch.float32
    for model in (load_model(str(bundle)), load_for_env(EnvConfig(checkpoint=bundle))):
        assert model.network.stem.weight.dtype is expected
    wanted = EnvConfig(checkpoint=bundle, dtype="bfloat16")
    for model in (load_model(str(bundle), dtype="bfloat16"), load_for_env(wanted)):
        assert model.network.stem.weight.dtype is torch.bfloat16


def test_results_that_are_kept_have_one_name_in_either_type(
    asks_for_bfloat16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for native in (False, True):
        monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda native=native: native)
        names.add(digest(load_model(str(asks_for_bfloat16))))
    assert len(names) == 1
