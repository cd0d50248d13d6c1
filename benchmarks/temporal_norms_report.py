"""The report of how a published model's ways to step compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols.table import Protocol
from benchmarks.report import Table, number
from benchmarks.temporal_sides import EXACT


def side_table(measures: Mapping[str, Any], sides: Sequence[str]) -> Table:
    """A row for each way to step."""

    def interval(key: str) -> str:
        low, high = measures[f"{key}_ci"]
        return f"{number(measures[key])} ({number(low)} to {number(high)})"

    rows = [["last context frame, standing still", interval("psnr_copy"), "", "", "", "", ""]]
    for side in sides:
        row = [side, interval(f"psnr_{side}"), "", "", number(measures[f"seconds_{side}"]), "1", "1"]
        if side != EXACT:
            row[2:4] = interval(f"loss_{side}"), interval(f"psnr_{side}_to_clip")
            low, high = measures[f"speedup_{side}_min"], measures[f"speedup_{side}_max"]
            row[5] = f"{number(measures[f'speedup_{side}'])} ({number(low)} to {number(high)})"
            row[6] = number(measures[f"speedup_{side}_last"])
        rows.append(row)
    header = ["", "PSNR, dB", "dB lost", "PSNR to clip's frames", "s per frame", "times faster", "at the last frame"]
    return Table("Truth and speed", header, rows)


def frame_table(curves: Mapping[str, NDArray[np.float64]], sides: Sequence[str], context_frames: int) -> Table:
    """A row for each imagined frame, of curves [clips n]."""
    keys = [f"psnr_{side}" for side in sides]
    keys += [f"psnr_{side}_to_clip" for side in sides if side != EXACT]
    keys += [f"seconds_{side}" for side in sides]
    means = {key: curves[key].mean(axis=0) for key in keys}
    rows = [
        [str(context_frames + 1 + place), *(number(float(means[key][place])) for key in keys)]
        for place in range(len(means[keys[0]]))
    ]
    labels = [key.replace("psnr_", "PSNR, ").replace("seconds_", "s, ").replace("_to_clip", " to clip") for key in keys]
    return Table("At each frame", ["frame", *labels], rows)


def notes(protocol: Protocol, format: str, num_sampling_steps: int) -> str:
    """How it was measured, on recordings of a format."""
    lines = [
        f"{protocol.context_frames} context frames, {protocol.horizon} imagined ones, {num_sampling_steps} denoising "
        f"steps, clips of {protocol.name}. The ways took turns on every clip, with the same context latents and the "
        "same noise; seconds are those of the network, without decoding. Means over clips with 95 % bootstrap "
        "intervals, speed as medians with smallest and largest; frames are counted from 1.",
        "`clip` steps as the paper's code does. The others leave out what of its sampler cannot be streamed: guidance "
        "rescaled over the history, tokens of the reconstructed frame without action, a first action of zero, noise "
        "left by the last step.",
    ]
    if format != protocol.dataset:
        lines.append(f"On {format} recordings, not on those of the paper ({protocol.dataset}).")
    return "\n".join(lines)
