"""The published models at their true size: what loading one, a reset and a step of its environment cost, by part.

    python -m benchmarks.published_size                                  random weights, written for it: 5.2 GB of disk
    python -m benchmarks.published_size checkpoint=vid2world_rt1.ckpt device=cuda num_sampling_steps=50

Without `checkpoint` a file of random weights in the layout of the RT-1 model is written, and removed at the end, also
of a run that fails. Costs do not depend on the weights.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.command_line import run
from benchmarks.protocols.report import write_report
from benchmarks.published_size_report import tables
from benchmarks.report import QUICK_FOLDER, RESULTS_FOLDER
from benchmarks.step_cost import (
    IMAGE_TOWER,
    NETWORK,
    PROJECTOR,
    TEXT_TOWER,
    StepCost,
    StepCostConfig,
    World,
    measure_step_cost,
)
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import FULL, TINY, write_synthetic
from world_model.precision import inference_dtype

_NUMBER_BYTES = 2  # in the file


@dataclass(frozen=True)
class PublishedSizeConfig:
    """Settings of the benchmark.

    Attributes:
        checkpoint: a published checkpoint of any format; None: random weights, written for this run.
        size: of the random weights; `tiny` has all parts in small widths.
        world: the environment.
        temporal_norms: each is measured in a process of its own. `clip` is the published models' own and recomputes the
            window in every pass; the others stream.
        num_sampling_steps: passes of the network per frame; the published models are meant for 50, `clip` needs 2.
        context_frames: frames the world starts from; `clip` passes all of them again.
        steps: of the environment; what is reported is their mean.
        folder: where the random weights are written for a while; None: the system's temporary folder.
        dtype: None: bfloat16, or float32 on processors that are slow in that.
        remark: on the circumstances, for the report.
    """

    checkpoint: str | None = None
    size: Literal["full", "tiny"] = "full"
    world: World = "RT1"
    temporal_norms: tuple[Literal["clip", "prefix", "frame"], ...] = ("clip", "frame")
    num_sampling_steps: int = 2
    context_frames: int = 1
    steps: int = 1
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    folder: str | None = None
    remark: str = ""
    results: str = RESULTS_FOLDER
    quick: bool = False


def main(config: PublishedSizeConfig) -> dict[str, Any]:
    """Measure and write the report. Returns the measures.

    Raises:
        ValueError: a setting out of range, too little disk, or a checkpoint that cannot be loaded or stepped.
    """
    given = config
    for name in ("num_sampling_steps", "context_frames", "steps"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if not config.temporal_norms:
        raise ValueError("temporal_norms: expected one or more of clip, prefix, frame, got none")
    if config.quick:
        config = replace(config, size="tiny", results=QUICK_FOLDER)
    if config.dtype is None:
        slow = inference_dtype("bfloat16", config.device) is torch.float32
        config = replace(config, dtype="float32" if slow else "bfloat16")
    with checkpoint_file(config) as path:
        costs: dict[str, StepCost] = {
            norm: measure_step_cost(_settings(config, path, norm)) for norm in config.temporal_norms
        }
    measures: dict[str, Any] = {}
    for norm, cost in costs.items():
        measures |= {f"{key}_{norm}": value for key, value in measures_of(cost, config.steps).items()}
    write_report(
        "published_size",
        given,
        measures,
        tables(costs, measures, config.steps),
        folder=Path(config.results),
        notes=_notes(config, next(iter(costs.values()))),
        details={"parameters": next(iter(costs.values())).parameters},
    )
    return measures


@contextmanager
def checkpoint_file(config: PublishedSizeConfig) -> Iterator[Path]:
    """The checkpoint to measure; one that was written for it is gone afterwards.

    Raises:
        ValueError: the disk has no room for it.
    """
    if config.checkpoint is not None:
        yield Path(config.checkpoint)
        return
    shapes = published_shapes((FULL if config.size == "full" else TINY)[config.world.lower()])
    needed = 1.1 * _NUMBER_BYTES * sum(math.prod(shape) for shape in shapes.values())
    folder = Path(config.folder or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"folder: the random weights take {needed / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB free; name "
            "another with folder=, or a checkpoint with checkpoint="
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix="published_size_") as own:
        yield write_synthetic(Path(own) / "random.safetensors", shapes, "safetensors", seed=config.seed)


def measures_of(cost: StepCost, steps: int) -> dict[str, Any]:
    """Flat measures of one process; seconds by the clock, those of the processor under `cpu_KEY`.

    Parts are counted per step, or per reset (`reset_KEY`), `KEY_calls` how often they ran.
    """
    measures: dict[str, Any] = {
        "weights_gb": cost.kept_bytes / 1e9,
        "peak_gb_load": cost.load.peak_bytes / 1e9,
        "peak_gb": cost.step.peak_bytes / 1e9,
        "peak_ratio_load": cost.load.peak_bytes / cost.kept_bytes,
        "peak_ratio": cost.step.peak_bytes / cost.kept_bytes,
        "load_seconds": cost.load.seconds,
        "cpu_load_seconds": cost.load.cpu_seconds,
        "reset_seconds": cost.reset.seconds,
        "cpu_reset_seconds": cost.reset.cpu_seconds,
        "step_seconds": cost.step.seconds / steps,
        "cpu_step_seconds": cost.step.cpu_seconds / steps,
        "load_text_tower_calls": cost.load.parts[TEXT_TOWER].calls,
    }
    for prefix, phase, times in (("reset_", cost.reset, 1), ("", cost.step, steps)):
        for name, part in phase.parts.items():
            measures[f"{prefix}{name}_calls"] = part.calls / times
            if part.calls:
                measures[f"{prefix}{name}_seconds"] = part.seconds / times
                measures[f"cpu_{prefix}{name}_seconds"] = part.cpu_seconds / times
    return measures | {"frame_std": cost.frame_std, "frame_change": cost.frame_change, "latent_std": cost.latent_std}


def _settings(config: PublishedSizeConfig, path: Path, norm: Literal["clip", "prefix", "frame"]) -> StepCostConfig:
    return StepCostConfig(
        str(path),
        config.world,
        norm,
        config.num_sampling_steps,
        config.context_frames,
        config.steps,
        config.device,
        config.dtype or "bfloat16",
        config.seed,
    )


def _notes(config: PublishedSizeConfig, cost: StepCost) -> str:
    counts = cost.parameters
    weights = config.checkpoint or f"random weights, size {config.size}"
    lines = [
        f"Vid2World-{config.world}-v0 ({weights}), {config.dtype}, threads: {cost.threads}, "
        f"{config.num_sampling_steps} denoising steps per frame, from {config.context_frames} frames. Each column is "
        "one process, on `gym.make` with that `temporal_norm`; nothing was warmed up.",
        f"Numbers kept: {counts['all']:,}, of them U-Net {counts[NETWORK]:,}, autoencoder {counts['autoencoder']:,}, "
        f"CLIP image tower {counts[IMAGE_TOWER]:,}, projector {counts[PROJECTOR]:,}. Of these weights "
        f"{cost.tensors_checked} tensors were compared with the file.",
        "A pass of the U-Net takes both branches of the guidance. With `clip` it sees the whole window twice, and the "
        "reset runs the CLIP image tower a second time, on the frame as the autoencoder gives it back, as the paper's "
        "code does. With `frame` and `prefix` it sees new frames only, whatever the history.",
    ]
    if config.device == "cpu":
        lines.append("Memory is the process' resident memory, libraries and mapped parts of the file included.")
    return "\n".join([*lines, config.remark] if config.remark else lines)


if __name__ == "__main__":
    run("published_size", PublishedSizeConfig, main)
