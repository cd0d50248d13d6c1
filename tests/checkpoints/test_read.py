"""Every format is recognised by its content, and everything else is told what it looks like."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.conftest import WriteTiny
from world_model.checkpoints.detect import kind_of, open_checkpoint
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.read import MappedTensors, portions, read
from world_model.checkpoints.synthetic import TINY, SyntheticFormat

FORMATS: tuple[SyntheticFormat, ...] = ("lightning", "deepspeed", "state_dict", "safetensors")
NAME = "model.diffusion_model.out.0.weight"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("model, kind", [("rt1", "vid2world"), ("dynamicrafter", "dynamicrafter")])
def test_format_and_kind_are_detected(tiny_checkpoint: WriteTiny, form: SyntheticFormat, model: str, kind: str) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint(model, form))
    assert (checkpoint.kind, checkpoint.format) == (kind, form)
    assert {name: tuple(t.shape) for name, t in checkpoint.tensors.items()} == published_shapes(TINY[model])
    same = open_checkpoint(tiny_checkpoint(model)).tensors
    assert all(torch.equal(tensor, same[name]) for name, tensor in checkpoint.tensors.items())


def test_our_own_folder_is_detected(tiny_bundle: Path) -> None:
    checkpoint = open_checkpoint(tiny_bundle)
    assert (checkpoint.kind, checkpoint.format, checkpoint.path) == ("bundle", "bundle", tiny_bundle)


def test_an_older_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    torch.save({"state_dict": {NAME: torch.ones(3)}}, path, _use_new_zipfile_serialization=False)
    form, tensors, _ = read(path)
    assert form == "lightning" and torch.equal(tensors[NAME], torch.ones(3))


def write_shards(folder: Path) -> Path:
    save_file({"a": torch.ones(2)}, folder / "model-00001-of-00002.safetensors")
    save_file({"module.b": torch.zeros(3)}, folder / "model-00002-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    shard = "model-0000{}-of-00002.safetensors"
    index.write_text(json.dumps({"weight_map": {"a": shard.format(1), "module.b": shard.format(2)}}))
    return index


def test_sharded_safetensors(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    for place in (index, tmp_path):
        form, tensors, path = read(place)
        assert (form, path, sorted(tensors)) == ("safetensors", index, ["a", "b"])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="1 of 2 shards missing, first model-00002"):
        read(index)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "expected the index"),
        ('{"weight_map": {"a": "../../elsewhere.safetensors"}}', "index is foreign"),
        (
            '{"weight_map": {"z": "model-00001-of-00002.safetensors"}}',
            "1 tensors of the index are in no shard, first z",
        ),
    ],
)
def test_a_foreign_index_is_refused(tmp_path: Path, content: str, message: str) -> None:
    index = write_shards(tmp_path)
    index.write_text(content)
    with pytest.raises(ValueError, match=message):
        read(index)


def test_wrappers_prefixes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "wrapped.pt"
    torch.save({"module._orig_mod.x": torch.ones(1), "_forward_module.module.y": torch.ones(2)}, path)
    assert sorted(read(path)[1]) == ["x", "y"]
    torch.save({"module.x": torch.ones(1), "x": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="with and without a wrapper's prefix"):
        read(path)


def test_a_folder_with_one_checkpoint(tmp_path: Path) -> None:
    """As a download, or as Lightning's DeepSpeed strategy leaves it."""
    inner = tmp_path / "epoch=1.ckpt" / "checkpoint"
    inner.mkdir(parents=True)
    torch.save({"module": {"_forward_module.x": torch.ones(1)}}, inner / "mp_rank_00_model_states.pt")
    torch.save({}, inner / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    form, tensors, _ = read(tmp_path / "epoch=1.ckpt")
    assert form == "deepspeed" and sorted(tensors) == ["x"]


def test_several_checkpoints_in_a_folder(tmp_path: Path) -> None:
    for name in "ab":
        save_file({NAME: torch.ones(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="2 checkpoints in one folder.*name the file"):
        read(tmp_path)


class Payload:
    """Runs a program when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    content = {"state_dict": {NAME: torch.ones(2)}, "hyper_parameters": Payload(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"evil.ckpt: it holds objects besides tensors \(posix.mkdir\).*refused"):
        read(path)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Payload(trace), protocol=2))
    with pytest.raises(ValueError, match="plain.pkl: .*(objects besides tensors|damaged)"):
        read(tmp_path / "plain.pkl")
    assert not trace.exists()


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("paper/main.tex", "x")


def a_program(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # as torch.jit.save does
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")


def cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def cut_safetensors(path: Path) -> None:
    save_file({NAME: torch.ones(1000)}, path)
    cut(path, 0.5)


def cut_header(path: Path) -> None:
    save_file({NAME: torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:30])


def cut_zip(path: Path) -> None:
    torch.save({NAME: torch.ones(1000)}, path)
    cut(path, 0.7)


def cut_old(path: Path) -> None:
    torch.save({NAME: torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    cut(path, 0.7)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.touch(), "it is empty; expected a PyTorch-Lightning"),
    "html": (lambda p: p.write_text("\n<!DOCTYPE html><html>"), "a web page saved in place"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "Git LFS pointer"),
    "json": (lambda p: p.write_text('{"error": "not found"}'), "a JSON text"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + b"0" * 20), "a gzip archive; unpack it"),
    "noise": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00" + b"7" * 50), "NUMPY.*of no known kind"),
    "zip": (a_zip, r"a zip archive, but no PyTorch checkpoint \(it holds \['paper/main.tex'\]\)"),
    "program": (a_program, "a TorchScript program"),
    "cut safetensors": (cut_safetensors, "truncated or damaged"),
    "cut header": (cut_header, "truncated or damaged"),
    "cut zip": (cut_zip, "has no end: truncated"),
    "cut old": (cut_old, "truncated or damaged"),
    "list": (lambda p: torch.save([torch.ones(1)], p), "a saved list, not a model's tensors"),
    "optimizer": (lambda p: torch.save({"lr": 0.1, "epoch": 3}, p), "dictionary with keys 'lr', 'epoch'"),
    "no tensors": (lambda p: torch.save({"state_dict": {}}, p), "holds no tensors"),
    "odd entry": (lambda p: torch.save({"state_dict": {"epoch": 3}}, p), "holds 'epoch', a int"),
    "empty dictionary": (lambda p: torch.save({}, p), "none of which holds a model"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_is_no_checkpoint_is_described(tmp_path: Path, what: str) -> None:
    path = tmp_path / "some.ckpt"
    write, message = BAD_FILES[what]
    write(path)
    with pytest.raises(ValueError, match=f"some.ckpt: .*{message}"):
        read(path)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file or folder"):
        read(tmp_path / "absent.ckpt")
    with pytest.raises(ValueError, match="an empty folder; expected"):
        read(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"no checkpoint among \['notes.txt'\]"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names, message",
    [
        (["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.x"], "image diffusion model"),
        (["input_blocks.0.0.weight", "time_embed.0.weight"], "only a part of a video model"),
        (["transformer.h.0.attn.weight"], "tensors of another model"),
        (
            [
                "model.diffusion_model.input_blocks.1.0.temopral_conv.conv1.2.weight",
                "model.diffusion_model.out.2.conv2d.weight",
            ],
            "partly causal",
        ),
    ],
)
def test_names_of_other_models_are_described(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind_of(names)


def test_a_foreign_model_names_its_file(tmp_path: Path) -> None:
    save_file({"bert.layer.0.weight": torch.ones(2)}, tmp_path / "bert.safetensors")
    with pytest.raises(ValueError, match="bert.safetensors: tensors of another model"):
        open_checkpoint(tmp_path / "bert.safetensors")


def test_released_tensors_are_mapped_again() -> None:
    opened = []

    def open_file() -> dict[str, torch.Tensor]:
        opened.append(1)
        return {"x": torch.ones(1)}

    tensors = MappedTensors(open_file)
    assert torch.equal(tensors["x"], torch.ones(1)) and len(opened) == 1
    tensors.release()
    assert list(tensors) == ["x"] and len(tensors) == 1 and len(opened) == 1  # names are kept
    assert torch.equal(tensors["x"], torch.ones(1)) and len(opened) == 2


def test_portions_keep_the_order_and_the_limit() -> None:
    sizes = {"a": 60, "b": 30, "c": 30, "huge": 500, "d": 10}
    tensors = {name: torch.empty(size, dtype=torch.uint8) for name, size in sizes.items()}
    assert portions(tensors, 100) == [["a", "b"], ["c"], ["huge"], ["d"]]
