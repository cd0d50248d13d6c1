"""Any checkpoint into a world model's own folder, tensor by tensor, and checked against its source afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from world_model import bundle
from world_model.checkpoints.assemble import compare, copies, shapes_of, skeleton
from world_model.checkpoints.detect import open_checkpoint
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published import prepare, stream
from world_model.checkpoints.read import PORTION_BYTES, read
from world_model.checkpoints.streamed import write_safetensors
from world_model.config import WorldModelConfig


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` did.

    Attributes:
        folder: of the world model.
        kind, format: of the source, as detected.
        tensors, bytes: written, all compared with the source.
        summary: what became of the source's tensors.
    """

    folder: Path
    kind: str
    format: str
    tensors: int
    bytes: int
    summary: str


def convert(
    source: str | Path,
    folder: str | Path,
    options: PublishedOptions | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
) -> Conversion:
    """Write a world model's folder (`config.yaml`, `model.safetensors`) from a checkpoint of any kind and format.

    The weights are read twice: to write them, and to compare every tensor of the new file with its source, bit by bit.
    Only then do the files appear under their names.

    Args:
        source: a file or folder; see :func:`world_model.checkpoints.read.read`. Of a world model's folder, the
            type of the weights changes and the other files are copied.
        options: of a published checkpoint: what it does not say of itself.
        dtype: of the stored weights, ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ValueError: the source is no checkpoint, or does not fit; ``folder`` is the source; a tensor changed on the way
            (a failing disk).
    """
    checkpoint, folder = open_checkpoint(source), Path(folder)
    if folder.is_file() or checkpoint.path.resolve() == folder.resolve():
        raise ValueError(f"{folder}: expected a folder that is not the source; write to another one")
    if checkpoint.kind == "bundle":
        model, summary = skeleton(bundle.load_config(checkpoint.path)), "copied, with weights of another type"
        compare(shapes_of(model.state_dict()), shapes_of(checkpoint.tensors))
    else:
        plan, model = prepare(checkpoint, options)
        summary = plan.summary()
    planned = {ours: (_type(ours, tensor, dtype), tuple(tensor.shape)) for ours, tensor in model.state_dict().items()}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        if checkpoint.kind == "bundle":
            found = copies(checkpoint.tensors, torch.float32)
        else:
            found = stream(checkpoint, plan, torch.float32)
        for ours, tensor in found:
            yield ours, tensor.to(_type(ours, tensor, dtype)).contiguous()

    folder.mkdir(parents=True, exist_ok=True)
    with bundle.Replacing(folder / bundle.WEIGHTS) as weights, bundle.Replacing(folder / bundle.CONFIG) as settings:
        settings.write_text(yaml.safe_dump(_plain(model.config), sort_keys=False))
        write_safetensors(weights, planned, tensors(), {"format": "vid2world-gym", "model": model.config.name})
        _check_back(weights, tensors())
        size = weights.stat().st_size
    if checkpoint.kind == "bundle":
        for extra in (bundle.EPISODES, bundle.CARD):
            if (checkpoint.path / extra).is_file():
                with bundle.Replacing(folder / extra) as copy:
                    shutil.copyfile(checkpoint.path / extra, copy)
    return Conversion(folder, checkpoint.kind, checkpoint.format, len(planned), size, summary)


def _type(name: str, tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    """What a tensor is stored as."""
    if not tensor.is_floating_point():
        return tensor.dtype
    return torch.float32 if bundle.is_exact(name) else dtype


def _check_back(path: Path, source: Iterable[tuple[str, Tensor]]) -> None:
    """Compare a written file with its source, converted once more."""
    written = read(path)[1]
    seen = 0
    for name, tensor in source:
        if written[name].dtype != tensor.dtype or not torch.equal(_bits(written[name]), _bits(tensor)):
            raise ValueError(f"{path}: {name} was not written as it was read; check the disk and convert again")
        seen += tensor.nbytes
        if seen > PORTION_BYTES:
            written.release()
            seen = 0


def _bits(tensor: Tensor) -> Tensor:
    """As integers, so that nan equals nan."""
    return tensor.contiguous().flatten().view(torch.uint8)


def _plain(config: WorldModelConfig) -> object:
    """Plain values for YAML; the detour by JSON turns tuples into lists."""
    return json.loads(json.dumps(asdict(config)))
