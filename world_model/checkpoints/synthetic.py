"""Random weights in the layout of the published checkpoints, to try everything without the published files.

    python -m world_model.checkpoints.synthetic tiny.ckpt                       all parts, small widths, 7 MB
    python -m world_model.checkpoints.synthetic tiny.ckpt --model dynamicrafter --format deepspeed
    python -m world_model.checkpoints.synthetic full.safetensors --size full    2.6 billion numbers, 5.2 GB

A file is written tensor by tensor, so the full size needs hardly more memory than the tiny one. Values are random, but
of such a size that signals neither vanish nor explode; the noise schedule is the true one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from world_model.bundle import Replacing
from world_model.checkpoints.plan import SCHEDULE
from world_model.checkpoints.published_shapes import PublishedSizes, Shape, published_shapes
from world_model.checkpoints.read import read
from world_model.checkpoints.streamed import write_safetensors
from world_model.diffusion.schedule import Schedule

SyntheticFormat = Literal["lightning", "deepspeed", "state_dict", "safetensors"]
FULL: dict[str, PublishedSizes] = {
    "rt1": PublishedSizes(),
    "csgo": PublishedSizes(actions="multi_hot", action_size=51),
    "recon": PublishedSizes(action_size=3),
    "dynamicrafter": PublishedSizes(actions="none", causal=False),
}
# Heads and norm groups stay as in the published models, so a tiny checkpoint is read with the same PublishedLayout.
# With fewer than 64 channels every group would be one channel, whose norm takes any embedding away again.
TINY: dict[str, PublishedSizes] = {
    name: replace(
        full,
        model_channels=64,
        channel_mult=(1, 1),
        num_res_blocks=1,
        attention_downsampling=(2,),
        head_channels=16,
        autoencoder_channels=(32, 32, 32, 32),
        autoencoder_blocks=1,
        image_width=80,
        image_layers=1,
        image_size=28,
        text_width=64,
        text_layers=2,
        vocabulary=64,
        projector_width=32,
        projector_inner=64,
        projector_layers=1,
        image_tokens=32,
    )
    for name, full in FULL.items()
}


def write_synthetic(
    path: str | Path,
    shapes: Mapping[str, Shape],
    form: SyntheticFormat = "lightning",
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
) -> Path:
    """Write a checkpoint of random weights; the file appears whole or not at all.

    Args:
        shapes: of every tensor, by published name; see :func:`published_shapes`.
        form: what the file looks like. All but ``safetensors`` need twice the space while they are written.
        seed: the same seed gives the same values, whatever the format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {name: (dtype, tuple(shape)) for name, shape in shapes.items()}
    with Replacing(path) as temporary:
        if form == "safetensors":
            write_safetensors(temporary, layout, _values(layout, seed), {"format": "pt"})
        else:
            plain = temporary.with_suffix(".plain")
            try:
                write_safetensors(plain, layout, _values(layout, seed), {"format": "pt"})
                torch.save(_wrapped(dict(read(plain)[1]), form), temporary)  # mapped: copied from file to file
            finally:
                plain.unlink(missing_ok=True)
    return path


def _values(layout: Mapping[str, tuple[torch.dtype, Shape]], seed: int) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    schedule = _schedule_buffers()
    for name, (dtype, shape) in layout.items():
        if name in schedule:
            yield name, schedule[name].to(dtype)
            continue
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            noise /= float(np.prod(shape[1:])) ** 0.5
        elif name.endswith(".weight"):  # of a norm
            noise = 1 + 0.1 * noise
        else:
            noise *= 0.1
        yield name, noise.to(dtype)


def _schedule_buffers() -> dict[str, Tensor]:
    """The noise schedule's tables; only those that a loader may compare with its own are told apart from zeros."""
    schedule = Schedule(SCHEDULE)
    zeros = np.zeros(SCHEDULE.num_levels)
    tables = {name: zeros for name in published_shapes(TINY["rt1"]) if "." not in name}
    tables |= {
        "betas": schedule.betas,
        "alphas_cumprod": schedule.alphas_cumprod,
        "scale_arr": np.concatenate([schedule.scale, np.full(SCHEDULE.turning_step, SCHEDULE.base_scale)]),
    }
    return {name: torch.from_numpy(table) for name, table in tables.items()}


def _wrapped(tensors: dict[str, Tensor], form: SyntheticFormat) -> object:
    if form == "lightning":
        return {"epoch": 0, "global_step": 100_000, "pytorch-lightning_version": "1.9.3", "state_dict": tensors}
    if form == "deepspeed":
        return {"module": {f"_forward_module.{name}": tensor for name, tensor in tensors.items()}, "dp_world_size": 1}
    return tensors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m world_model.checkpoints.synthetic", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--model", choices=sorted(FULL), default="rt1", help="default: rt1")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny", help="default: tiny")
    parser.add_argument("--manifest", type=Path, help='JSON {"tensors": {name: shape}} in place of model and size')
    parser.add_argument(
        "--format", choices=get_args(SyntheticFormat), help="default: safetensors or lightning, by name"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.manifest is not None:
        shapes = {name: tuple(shape) for name, shape in json.loads(options.manifest.read_text())["tensors"].items()}
    else:
        shapes = published_shapes((TINY if options.size == "tiny" else FULL)[options.model])
    form: SyntheticFormat = "safetensors" if options.out.suffix == ".safetensors" else "lightning"
    form = options.format or form
    path = write_synthetic(options.out, shapes, form, seed=options.seed)
    print(f"{path}: {len(shapes)} tensors, {path.stat().st_size / 1e6:.1f} MB")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
