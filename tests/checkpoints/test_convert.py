"""Conversion into our own folder, with its back-check, and one door to load everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.conftest import LAYOUT, WriteTiny
from tests.conftest import ACTION_SPECS
from world_model import bundle
from world_model.checkpoints import convert as convert_module
from world_model.checkpoints import load as load_module
from world_model.checkpoints.convert import convert
from world_model.checkpoints.download import CATALOG
from world_model.checkpoints.load import load
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published import load_published
from world_model.checkpoints.streamed import write_safetensors


@pytest.mark.parametrize("form", ["lightning", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_converted_checkpoint_is_the_same_model(
    tiny_checkpoint: WriteTiny, tmp_path: Path, form: str, dtype: torch.dtype
) -> None:
    source = tiny_checkpoint("rt1", form)
    done = convert(source, tmp_path / "world", PublishedOptions(layout=LAYOUT, name="robot"), dtype=dtype)
    assert (done.kind, done.format, done.folder) == ("vid2world", form, tmp_path / "world")
    assert sorted(p.name for p in done.folder.iterdir()) == ["config.yaml", "model.safetensors"]
    assert done.bytes == (done.folder / "model.safetensors").stat().st_size
    direct = load_published(source, PublishedOptions(layout=LAYOUT, name="robot"), dtype=torch.float32)
    again = load(done.folder)
    assert again.config == direct.config
    for name, tensor in again.state_dict().items():
        rounded = dtype if "latent_" not in name else torch.float32
        assert torch.equal(tensor, direct.state_dict()[name].to(rounded).float()), name
    assert done.tensors == len(again.state_dict())


def test_dynamicrafter_converts_too(tiny_checkpoint: WriteTiny, tmp_path: Path) -> None:
    options = PublishedOptions(actions=ACTION_SPECS["box"], transfer="masked", layout=LAYOUT)
    done = convert(tiny_checkpoint("dynamicrafter"), tmp_path / "w", options)
    assert done.kind == "dynamicrafter" and "new, to be trained" in done.summary
    assert load(done.folder).config.actions == ACTION_SPECS["box"]


def test_our_own_folder_changes_type_and_keeps_its_clips(tiny_bundle: Path, tmp_path: Path) -> None:
    done = convert(tiny_bundle, tmp_path / "world", dtype=torch.float32)
    assert {t.dtype for t in load_file(done.folder / "model.safetensors").values()} == {torch.float32}
    for name in ("episodes.npz", "card.md"):
        assert (done.folder / name).read_bytes() == (tiny_bundle / name).read_bytes()
    before, after = load(tiny_bundle).state_dict(), load(done.folder).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with pytest.raises(ValueError, match="a folder that is not the source"):
        convert(tiny_bundle, tiny_bundle)


def test_nothing_is_written_half(tiny_checkpoint: WriteTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = convert_module.write_safetensors

    def failing_disk(path: Path, layout: Any, tensors: Iterator[Any], metadata: Any) -> None:
        real(path, layout, tensors, metadata)
        with path.open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))

    monkeypatch.setattr(convert_module, "write_safetensors", failing_disk)
    with pytest.raises(ValueError, match="was not written as it was read"):
        convert(tiny_checkpoint("rt1"), tmp_path / "world", PublishedOptions(layout=LAYOUT))
    assert list((tmp_path / "world").iterdir()) == []


def test_a_file_in_the_way(tiny_checkpoint: WriteTiny, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("something else")
    with pytest.raises(ValueError, match="expected a folder"):
        convert(tiny_checkpoint("rt1"), tmp_path / "world", PublishedOptions(layout=LAYOUT))


# -- loading


def test_a_folder_that_does_not_fit_its_settings(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = convert(tiny_bundle, tmp_path / "world").folder
    settings = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(settings.replace("model_channels: 16", "model_channels: 32"))
    with pytest.raises(ValueError, match="model.safetensors does not fit its config.yaml.*of another shape"):
        load(folder)


def test_types_and_gradients(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, dtype=torch.bfloat16)
    assert {name for name, t in model.state_dict().items() if t.dtype != torch.bfloat16} == set(bundle.EXACT)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_published_name_is_downloaded_with_its_layout(
    tiny_checkpoint: WriteTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fake_download(name: str) -> Path:
        asked.append(name)
        return tiny_checkpoint("recon", "lightning")

    monkeypatch.setattr(load_module, "download", fake_download)
    for name in ("thuml/Vid2World-RECON", "Vid2World-RECON", "recon"):
        model = load(name, dtype=torch.bfloat16)
        assert (model.config.name, model.config.window) == ("Vid2World-RECON", CATALOG["RECON"].layout.window)
    assert asked == ["RECON"] * 3
    assert load("recon", PublishedOptions(layout=LAYOUT)).config.frame_size == (32, 64)


def test_a_name_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no world model at"):
        load(tmp_path / "absent")


# -- the writer


def test_tensors_arrive_in_any_order_and_aligned(tmp_path: Path) -> None:
    tensors = {
        "flag": torch.tensor([True, False, True]),
        "half": torch.randn(3, 5).half(),
        "double": torch.randn(2, 2, dtype=torch.float64),
        "scalar": torch.tensor(3.5),
        "kernel": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).bfloat16(),
        "nothing": torch.empty(0, 4),
        "whole": torch.tensor([1, 2, 3]),
    }
    layout = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    path = tmp_path / "x.safetensors"
    write_safetensors(path, layout, reversed(list(tensors.items())), {"a": "b"})
    read = load_file(path)
    assert read.keys() == tensors.keys()
    assert all(read[n].dtype == t.dtype and torch.equal(read[n], t) for n, t in tensors.items())


@pytest.mark.parametrize(
    "tensors, message",
    [
        ([("a", torch.ones(2))], "1 planned tensors did not come, first .'b'"),
        ([("a", torch.ones(2)), ("a", torch.ones(2))], "a: expected no such tensor, or only one"),
        ([("c", torch.ones(2))], "c: expected no such tensor"),
        ([("a", torch.ones(3))], r"a: expected .*\(2,\).*got torch.float32 \(3,\)"),
        ([("a", torch.ones(2).half())], "a: expected .*float32.*got torch.float16"),
    ],
)
def test_what_differs_from_the_plan_is_refused(tmp_path: Path, tensors: Any, message: str) -> None:
    layout = {"a": (torch.float32, (2,)), "b": (torch.float32, (1,))}
    with pytest.raises(ValueError, match=message):
        write_safetensors(tmp_path / "x", layout, tensors, {})
