"""Write a safetensors file tensor by tensor: a model of any size in the memory of its largest tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_safetensors(
    path: Path,
    layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """Write ``tensors``, in whatever order they come, into a file whose ``layout`` (type and shape by name) is known.

    The caller renames the file into place once this has returned.

    Raises:
        ValueError: a tensor that is not in the layout, differs from it, comes twice, or does not come.
    """
    # Wide types first, so that every tensor begins at a multiple of its element's size.
    names = sorted(layout, key=lambda name: -layout[name][0].itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offsets: dict[str, int] = {}
    end = 0
    for name in names:
        dtype, shape = layout[name]
        offsets[name], end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start = file.tell()
        file.truncate(start + end)
        waiting = set(layout)
        for name, tensor in tensors:
            if name not in waiting or layout[name] != (tensor.dtype, tuple(tensor.shape)):
                planned = layout[name] if name in waiting else "no such tensor, or only one"
                raise ValueError(f"{name}: expected {planned}, got {tensor.dtype} {tuple(tensor.shape)}")
            waiting.remove(name)
            file.seek(start + offsets[name])
            file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        if waiting:
            raise ValueError(f"{path}: {len(waiting)} planned tensors did not come, first {sorted(waiting)[:3]}")
