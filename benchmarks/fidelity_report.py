"""The report of the open-loop evaluation: targets, tables, and a picture of error against horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks import report
from benchmarks.fidelity_measures import HORIZONS, Curves
from benchmarks.report import Table, Target, number

matplotlib.use("Agg")

TARGETS = (
    Target("psnr_1", "at_least", 35.0, "PSNR of frame 1, dB"),
    Target("psnr_10", "at_least", 30.0, "PSNR of frame 10, dB"),
    Target("psnr_30", "at_least", 26.0, "PSNR of frame 30, dB"),
    Target("ssim_1", "at_least", 0.98, "SSIM of frame 1"),
    Target("ssim_10", "at_least", 0.96, "SSIM of frame 10"),
    Target("ssim_30", "at_least", 0.93, "SSIM of frame 30"),
    Target("agent_error_10", "at_most", 0.7, "agent position error at 10, px of 64"),
    Target("agent_error_30", "at_most", 1.2, "agent position error at 30, px of 64"),
    Target("block_error_10", "at_most", 1.2, "block position error at 10, px of 64"),
    Target("block_error_30", "at_most", 3.0, "block position error at 30, px of 64"),
    Target("action_ratio_10", "at_least", 8.0, "agent error, shuffled / true actions, at 10"),
)

_LABELS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "agent_error": "agent position error, px of 64",
    "block_error": "block position error, px of 64",
}

_NOTES = """Open loop from {context} context frames with the recorded actions, mean over {clips} clips of the {split}
split (95 % bootstrap interval over clips). Positions by colour centroid, in pixels of 64; a missing object counts as
the image diagonal. "Copy" repeats the last context frame, "autoencoder" encodes and decodes the recorded frames."""


def write_fidelity(config: Any, measures: Mapping[str, Any], curves: Mapping[str, Curves], folder: str) -> Path:
    """Write fidelity.json, .md and .png into `folder`; `config` is the `FidelityConfig`. Returns the JSON's path."""
    split = config.split or "test"
    picture = plot(curves, Path(folder) / "fidelity.png")
    tables = [report.target_table(measures, TARGETS), _references(measures), _moving(measures), _lost(measures)]
    notes = _NOTES.format(context=config.context_frames, clips=measures["clips"], split=split)
    recorded = dict(measures) | {"split": split, "curves": {name: _means(curve) for name, curve in curves.items()}}
    return report.write(
        "fidelity", config, measures, tables, folder=folder, notes=notes, recorded=recorded, files=[picture]
    )


def write_sweep(config: Any, settings: Sequence[Mapping[str, Any]], folder: str) -> Path:
    """Write fidelity_sweep.json and .md: one row per sampling setting."""
    keys = ["psnr_1", "psnr_10", "psnr_30", "ssim_1", "ssim_10", "ssim_30"]
    keys += ["agent_error_10", "agent_error_30", "block_error_10", "block_error_30", "action_ratio_10"]
    keys += ["ms_per_step_alone", "ms_per_step"]
    keys = [key for key in keys if key in settings[0]]
    rows = [
        [str(row["num_sampling_steps"]), f"{row['guidance_scale']:g}", *(number(row[key]) for key in keys)]
        for row in settings
    ]
    table = Table("Sampling settings", ["steps", "guidance", *(key.replace("_", " ") for key in keys)], rows)
    split = config.split or "validation"
    notes = _NOTES.format(context=config.context_frames, clips=settings[0]["clips"], split=split) + (
        f"\nTime per step of one clip by itself and inside a batch of {config.batch_size}, decoding included."
    )
    measures = {"split": split, "clips": settings[0]["clips"], "settings": list(settings)}
    return report.write("fidelity_sweep", config, measures, [table], folder=folder, module="fidelity", notes=notes)


def plot(curves: Mapping[str, Curves], path: Path) -> Path:
    """One panel per measure: mean over clips against frames since the context. Returns `path`."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    styles = {"imagined": "-", "autoencoder": ":", "copy": "--", "shuffled": "-."}
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axis, (key, label) in zip(axes.flat, _LABELS.items(), strict=True):
        for name, style in styles.items():
            if name in curves and not (name == "shuffled" and key != "agent_error"):
                mean = _means(curves[name])[key]
                label_of = {"imagined": "imagined", "shuffled": "imagined, actions of another clip"}.get(name, name)
                axis.plot(range(1, len(mean) + 1), mean, style, label=label_of)
        axis.set(xlabel="frames since the context", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _means(curve: Curves) -> dict[str, list[float]]:
    """Mean over clips at each frame, NaN (nothing to compare with) left out."""
    return {key: np.nanmean(values, axis=0).tolist() for key, values in curve.items()}


def _references(measures: Mapping[str, Any]) -> Table:
    rows = [
        [f"{label}, frame {frame}", *(number(measures[f"{of}{key}_{frame}"]) for of in ("", "autoencoder_", "copy_"))]
        for key, label in _LABELS.items()
        for frame in HORIZONS
        if f"{key}_{frame}" in measures
    ]
    return Table("Beside the references", ["measure", "imagined", "autoencoder", "copy"], rows)


def _moving(measures: Mapping[str, Any]) -> Table:
    frames = [frame for frame in HORIZONS if f"clips_moving_{frame}" in measures]
    rows = [["clips", *(str(measures[f"clips_moving_{frame}"]) for frame in frames)]]
    rows += [
        [label, *(number(measures[f"{key}_{frame}_moving"]) for frame in frames)] for key, label in _LABELS.items()
    ]
    copies = [number(measures[f"copy_block_error_{frame}_moving"]) for frame in frames]
    rows.append(["block position error of copy, px of 64", *copies])
    return Table("Clips in which the block moves by then", ["measure", *(f"frame {f}" for f in frames)], rows)


def _lost(measures: Mapping[str, Any]) -> Table:
    frames = [frame for frame in HORIZONS if f"agent_lost_{frame}" in measures]
    rows = []
    for name in ("agent", "block"):
        rows.append([f"clips that lose the {name}", *(f"{measures[f'{name}_lost_{frame}']:.1%}" for frame in frames)])
        found = [number(measures[f"{name}_error_{frame}_found"]) for frame in frames]
        rows.append([f"{name} position error in the others, px of 64", *found])
    return Table("Objects that the dream loses", ["measure", *(f"frame {f}" for f in frames)], rows)
