"""What streaming costs a published model in truth, and what it gains in speed.

    python -m benchmarks.temporal_norms checkpoint=RT1 dataset=data/rt1 device=cuda [num_clips=8 ...]

The published models normalise over all frames of a clip, so exact stepping passes the whole window through the network
in every denoising step (`clip`). Norms over past frames (`prefix`) or single frames (`frame`) let the same weights
stream, which is faster and not the same. Every recorded clip is imagined in each way in turn, with the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.command_line import run
from benchmarks.loading import load_model
from benchmarks.metrics import estimate, psnr
from benchmarks.protocols.clips import choose_films
from benchmarks.protocols.recordings import open_recordings
from benchmarks.protocols.report import write_report
from benchmarks.protocols.table import PROTOCOLS, Protocol
from benchmarks.report import QUICK_FOLDER, RESULTS_FOLDER
from benchmarks.scoring import View
from benchmarks.temporal_norms_report import frame_table, notes, side_table
from benchmarks.temporal_sides import EXACT, SIDES, Dream, SideName, dream, make_sides
from world_model.data.evaluation_clips import read_clip
from world_model.data.opening import detect_format
from world_model.progress import progress_bar

Curve = NDArray[np.float64]
_PROTOCOL_OF = {"rt1": "rt1_ar", "csgo": "csgo", "recon": "recon_rollout"}


@dataclass(frozen=True)
class TemporalNormsConfig:
    """Settings of the comparison.

    Attributes:
        checkpoint: a published one: file, folder, name on the hub.
        dataset: folder of its recordings.
        sides: ways to step, `clip` among them. `clip_standard` tells the share of the norms from that of the paper's
            sampler, whose quirks cannot be streamed either.
        protocol: whose clips, window and crop are taken; None: that of the dataset.
        horizon: imagined frames, at most the protocol's; None: as many as the protocol has.
        num_sampling_steps, guidance_scale, dtype: in place of the checkpoint's.
    """

    checkpoint: str = "thuml/Vid2World-RT1"
    dataset: str = "runs/data/rt1"
    sides: tuple[SideName, ...] = ("clip", "prefix", "frame")
    protocol: Literal["rt1_ar", "csgo", "recon_single_step", "recon_rollout"] | None = None
    split: Literal["train", "validation", "test", "all"] = "validation"
    num_clips: int = 8
    horizon: int | None = None
    num_sampling_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    results: str = RESULTS_FOLDER
    quick: bool = False


def main(config: TemporalNormsConfig) -> dict[str, Any]:
    """Imagine, compare and write the report. Returns the measures.

    Raises:
        ValueError: unusable settings, dataset or checkpoint; says what is wrong.
        FileNotFoundError: no such checkpoint.
    """
    given, config = config, _settled(config)
    format = detect_format(Path(config.dataset))  # before anything long begins
    model = load_model(config.checkpoint, config.device, config.dtype)
    protocol = _protocol(config, format)
    model.set_window(protocol.window)
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale)
    sides = make_sides(model, config.sides, sampling)
    dataset = open_recordings(config.dataset, protocol, model.config, config.checkpoint)
    tasks = choose_films(protocol, dataset, None if config.split == "all" else config.split, config.num_clips)
    view, k = protocol.view(model.config.frame_size), protocol.context_frames
    clips: list[dict[str, Curve]] = []
    for task in progress_bar(tasks, "imagining", "clip"):
        clip = read_clip(dataset, task.place, protocol.length)
        frames, actions = clip["frames"].numpy(), clip["actions"].float()
        seed = 1000 * (config.seed * 1_000_003 + task.clip)
        if not clips:  # what is done only once is not to count for the side that comes first
            for side in sides:
                dream(model, side, frames[:k], actions[:k], seed)
        dreams: dict[str, Dream] = {side.name: dream(model, side, frames[:k], actions, seed) for side in sides}
        clips.append(_compare(dreams, frames, k, view))
    curves = {key: np.stack([clip[key] for clip in clips]) for key in clips[0]}
    measures = summarise(curves, config.sides, config.seed)
    write_report(
        "temporal_norms",
        given,
        measures,
        [side_table(measures, config.sides), frame_table(curves, config.sides, k)],
        folder=Path(config.results),
        notes=notes(protocol, dataset.format, sampling.num_sampling_steps),
        details={
            "frames": list(range(k + 1, protocol.length + 1)),
            "curves": {key: values.mean(axis=0).tolist() for key, values in curves.items()},
        },
    )
    return measures


def summarise(curves: Mapping[str, Curve], sides: Sequence[str], seed: int) -> dict[str, Any]:
    """Flat measures of curves float64 [clips n]: means over clips with 95 % intervals (`KEY_ci`), and speed.

    For each side `psnr_SIDE` against the recording, `psnr_SIDE_to_clip` against the exactly stepped film, `loss_SIDE`
    dB below that film (against the recording), `seconds_SIDE` of a frame, `speedup_SIDE` over exact stepping: the
    median over clips, with `_min` and `_max`, and `speedup_SIDE_last` at the last frame, where the history is longest.
    """
    measures: dict[str, Any] = {"clips": len(curves[f"psnr_{EXACT}"])}

    def put(key: str, values: Curve) -> None:
        total = estimate(values.mean(axis=1), seed)
        measures[key], measures[f"{key}_ci"] = total.mean, [total.low, total.high]

    put("psnr_copy", curves["psnr_copy"])
    for side in sides:
        put(f"psnr_{side}", curves[f"psnr_{side}"])
        measures[f"seconds_{side}"] = float(np.median(curves[f"seconds_{side}"].mean(axis=1)))
    exact = curves[f"seconds_{EXACT}"]
    for side in sides:
        if side == EXACT:
            continue
        put(f"psnr_{side}_to_clip", curves[f"psnr_{side}_to_clip"])
        put(f"loss_{side}", curves[f"psnr_{EXACT}"] - curves[f"psnr_{side}"])
        seconds = curves[f"seconds_{side}"]
        ratios = exact.sum(axis=1) / seconds.sum(axis=1)
        measures[f"speedup_{side}"] = float(np.median(ratios))
        measures[f"speedup_{side}_min"], measures[f"speedup_{side}_max"] = float(ratios.min()), float(ratios.max())
        measures[f"speedup_{side}_last"] = float(np.median(exact[:, -1] / seconds[:, -1]))
    return measures


def _settled(config: TemporalNormsConfig) -> TemporalNormsConfig:
    """What a quick run changes.

    Raises:
        ValueError: a setting is out of range.
    """
    if EXACT not in config.sides or len(set(config.sides)) != len(config.sides):
        raise ValueError(f"sides: expected some of {', '.join(SIDES)}, each once and {EXACT} among them")
    for name in ("num_clips", "horizon"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if not config.quick:
        return config
    return replace(
        config,
        num_clips=min(config.num_clips, 2),
        horizon=min(config.horizon or 3, 3),
        num_sampling_steps=min(config.num_sampling_steps or 2, 2),
        results=QUICK_FOLDER,
    )


def _protocol(config: TemporalNormsConfig, format: str) -> Protocol:
    protocol = PROTOCOLS[config.protocol or _PROTOCOL_OF.get(format, "rt1_ar")]
    horizon = protocol.horizon if config.horizon is None else min(config.horizon, protocol.horizon)
    return replace(protocol, horizon=horizon)


def _compare(
    dreams: Mapping[str, Dream], recorded: NDArray[np.uint8], context_frames: int, view: View
) -> dict[str, Curve]:
    """Curves over the imagined frames, each float64 [n]."""
    ahead = recorded[context_frames:]
    copied = np.repeat(recorded[context_frames - 1 : context_frames], len(ahead), axis=0)
    curves: dict[str, Curve] = {"psnr_copy": _psnr(copied, ahead, view)}
    for name, film in dreams.items():
        curves[f"psnr_{name}"] = _psnr(film.frames, ahead, view)
        curves[f"seconds_{name}"] = film.seconds
        if name != EXACT:
            curves[f"psnr_{name}_to_clip"] = _psnr(film.frames, dreams[EXACT].frames, view)
    return curves


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], view: View) -> Curve:
    return psnr(*(view(frames).movedim(1, -1).double().numpy() for frames in (a, b)))


if __name__ == "__main__":
    run("temporal_norms", TemporalNormsConfig, main)
