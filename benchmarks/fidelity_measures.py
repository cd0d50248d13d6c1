"""The measures of the open-loop evaluation: curves over the horizon, and what they amount to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import Clips
from benchmarks.metrics import Estimate, estimate, estimate_ratio, psnr, ssim
from benchmarks.open_loop import Rollout, imagine, reconstruct
from benchmarks.pusht_tracking import IMAGE_DIAGONAL, Positions, position_error, track
from world_model.model import SamplingConfig, WorldModel
from world_model.progress import progress_bar

HORIZONS = (1, 5, 10, 30)
"""Frames after the context at which measures are reported."""

MOVED = 1.0
"""A block that has left its place by more than this many pixels of 64 counts as moving."""

Curves = dict[str, NDArray[np.float64]]
"""Values for each clip and frame, [b n], under psnr, ssim, agent_error and block_error."""


def evaluate(
    model: WorldModel,
    clips: Clips,
    *,
    context_frames: int,
    sampling: SamplingConfig,
    seed: int,
    batch_size: int,
    references: Mapping[str, Curves] | None = None,
) -> tuple[dict[str, Any], dict[str, Curves]]:
    """All measures of a model on some clips, and the curves behind them.

    The curves are `imagined` (true actions), `shuffled` (only agent_error: the same context, then the actions of
    another clip) and those of `reference_curves`, which need not be computed again if they are given.
    """
    recorded = clips.frames[:, context_frames:]
    positions = track(recorded)
    with progress_bar(range(2 * len(clips)), "imagining", "clip") as bar:

        def rollout(of: Clips) -> Rollout:
            return imagine(
                model,
                of,
                context_frames=context_frames,
                sampling=sampling,
                seed=seed,
                batch_size=batch_size,
                progress=bar.update,
            )

        imagined = rollout(clips)
        shuffled = rollout(clips.with_actions_of_next(context_frames - 1))
    curves = {
        "imagined": compare(imagined.frames, recorded, positions),
        "shuffled": {"agent_error": position_error(track(shuffled.frames).agent, positions.agent)},
        **(references or reference_curves(model, clips, context_frames)),
    }
    measures = summarise(curves, block_moved(clips, context_frames, positions), seed)
    measures |= {
        "clips": len(clips),
        "num_sampling_steps": sampling.num_sampling_steps,
        "guidance_scale": sampling.guidance_scale,
        "ms_per_step": 1e3 * imagined.seconds_per_step,
    }
    return measures, curves


def reference_curves(model: WorldModel, clips: Clips, context_frames: int) -> dict[str, Curves]:
    """What to hold a dream against: `copy` repeats the last context frame, which is what knowing nothing scores, and
    `autoencoder` encodes and decodes the recorded frames, which is what knowing everything scores."""
    recorded = clips.frames[:, context_frames:]
    positions = track(recorded)
    still = np.repeat(clips.frames[:, context_frames - 1 : context_frames], recorded.shape[1], axis=1)
    return {
        "copy": compare(still, recorded, positions),
        "autoencoder": compare(reconstruct(model, recorded), recorded, positions),
    }


def compare(imagined: NDArray[np.uint8], recorded: NDArray[np.uint8], positions: Positions) -> Curves:
    """Each measure for each clip and frame; frames uint8 [b n h w 3], `positions` those of the recorded frames."""
    tracked = track(imagined)
    return {
        "psnr": psnr(imagined, recorded),
        "ssim": ssim(imagined, recorded),
        "agent_error": position_error(tracked.agent, positions.agent),
        "block_error": position_error(tracked.block, positions.block),
    }


def block_moved(clips: Clips, context_frames: int, positions: Positions) -> NDArray[np.bool_]:
    """Whether the recorded block has left its place by then, for each clip and frame, bool [b n]."""
    start = track(clips.frames[:, context_frames - 1]).block[:, None]
    distance = np.linalg.norm(positions.block - start, axis=-1)
    return np.logical_or.accumulate(np.nan_to_num(distance) > MOVED, axis=1)


def summarise(curves: dict[str, Curves], moved: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """Means over clips at each horizon, with 95 % intervals under KEY_ci for the model's own.

    `KEY_moving` are means over the clips in which the block moves by then; `agent_lost` is the share of clips that show
    no agent where there is one, `agent_error_N_found` the mean over the others (likewise for the block); `copy_KEY` and
    `autoencoder_KEY` are those of the two references.
    """
    measures: dict[str, Any] = {}

    def put(key: str, value: Estimate) -> None:
        measures[key] = value.mean
        measures[f"{key}_ci"] = [value.low, value.high]

    for frame in (horizon for horizon in HORIZONS if horizon <= moved.shape[1]):
        at = {name: {key: values[:, frame - 1] for key, values in curve.items()} for name, curve in curves.items()}
        moving = moved[:, frame - 1]
        measures[f"clips_moving_{frame}"] = int(moving.sum())
        for key, values in at["imagined"].items():
            put(f"{key}_{frame}", estimate(values, seed))
            put(f"{key}_{frame}_moving", estimate(values[moving], seed))
            for reference in ("copy", "autoencoder"):
                measures[f"{reference}_{key}_{frame}"] = estimate(at[reference][key], seed).mean
            measures[f"copy_{key}_{frame}_moving"] = estimate(at["copy"][key][moving], seed).mean
        for name in ("agent", "block"):
            errors = at["imagined"][f"{name}_error"]
            errors = errors[~np.isnan(errors)]
            lost = errors >= IMAGE_DIAGONAL
            measures[f"{name}_lost_{frame}"] = float(lost.mean()) if len(errors) else float("nan")
            measures[f"{name}_error_{frame}_found"] = estimate(errors[~lost], seed).mean
        ratio = estimate_ratio(at["shuffled"]["agent_error"], at["imagined"]["agent_error"], seed)
        put(f"action_ratio_{frame}", ratio)
    return measures
