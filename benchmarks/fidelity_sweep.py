"""The same clips under every combination of sampling steps and guidance scale."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.clips import Clips
from benchmarks.fidelity_measures import evaluate, reference_curves
from benchmarks.open_loop import decode, encode
from world_model.model import SamplingConfig, WorldModel
from world_model.progress import progress_bar

_TIMED_STEPS = 12


def sweep(
    model: WorldModel,
    clips: Clips,
    steps: Sequence[int],
    scales: Sequence[float],
    *,
    context_frames: int,
    seed: int,
    batch_size: int,
) -> list[dict[str, Any]]:
    """Measures of each setting, as `fidelity_measures.evaluate` gives them.

    `ms_per_step` is the time per step of one clip inside a batch, `ms_per_step_alone` the median time of a step with
    nothing else in the batch; both include decoding to pixels.
    """
    settings = [(count, scale) for count in steps for scale in scales]
    rows = []
    references = reference_curves(model, clips, context_frames)
    for count, scale in progress_bar(settings, "sampling settings", "setting"):
        sampling = model.with_sampling(num_sampling_steps=count, guidance_scale=scale)
        measures, _ = evaluate(
            model,
            clips,
            context_frames=context_frames,
            sampling=sampling,
            seed=seed,
            batch_size=batch_size,
            references=references,
        )
        rows.append(measures | {"ms_per_step_alone": 1e3 * seconds_alone(model, clips, context_frames, sampling)})
    return rows


def seconds_alone(model: WorldModel, clips: Clips, context_frames: int, sampling: SamplingConfig) -> float:
    """Median seconds of a step of one clip by itself, from action to pixels."""
    generator = torch.Generator().manual_seed(0)
    times = []
    with torch.inference_mode():
        latents = encode(model, clips.frames[:1, :context_frames])
        actions = clips.actions[:1].to(latents.device)
        state = model.init_state(latents, actions[:, : context_frames - 1], generator)
        for index in range(min(_TIMED_STEPS, actions.shape[1] - context_frames + 1)):
            start = time.perf_counter()
            state, latent = model.step(state, actions[:, context_frames - 1 + index], generator, sampling)
            decode(model, latent[:, None])
            times.append(time.perf_counter() - start)
    return statistics.median(times)
