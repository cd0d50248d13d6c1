"""Imagining recorded clips: context frames in, then nothing but the recorded actions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.clips import Clips
from v2w_env.frames import to_model, to_pixels
from world_model.model import SamplingConfig, WorldModel

_FRAMES_PER_CALL = 256  # of the autoencoder; bounds its memory


@dataclass(frozen=True)
class Rollout:
    """Imagined frames uint8 [b n h w 3] and the seconds that one step of one clip took, decoding included."""

    frames: NDArray[np.uint8]
    seconds_per_step: float


def imagine(
    model: WorldModel,
    clips: Clips,
    *,
    context_frames: int,
    sampling: SamplingConfig,
    seed: int,
    batch_size: int,
    progress: Callable[[int], object] | None = None,
) -> Rollout:
    """Continue each clip from its first `context_frames` frames with its own actions, to its full length.

    The noise of a clip depends on the seed and the clip's place, not on the batch size. `progress` is called with the
    number of clips finished since its last call.
    """
    imagined = []
    seconds = 0.0
    for first in range(0, len(clips), batch_size):
        rows = slice(first, first + batch_size)
        count = len(clips.frames[rows])
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + first + row) for row in range(count)]
        with torch.inference_mode():
            context = encode(model, clips.frames[rows, :context_frames])
            device = context.device
            actions = clips.actions[rows].to(device)
            state = model.init_state(context, actions[:, : context_frames - 1], generators)
            start = time.perf_counter()
            _, latents = model.rollout(state, actions[:, context_frames - 1 :], generators, sampling)
            imagined.append(decode(model, latents))
            seconds += time.perf_counter() - start
        if progress is not None:
            progress(count)
    frames = np.concatenate(imagined)
    return Rollout(frames, seconds / (frames.shape[0] * frames.shape[1]))


def reconstruct(model: WorldModel, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames uint8 [b t h w 3] through the autoencoder and back: the best that any imagined frame can be."""
    with torch.inference_mode():
        return np.concatenate([decode(model, encode(model, clip[None])) for clip in frames])


def encode(model: WorldModel, frames: NDArray[np.uint8]) -> torch.Tensor:
    """Latents [b t c h w] of frames uint8 [b t h w 3]."""
    return model.encode(to_model(frames, model.device, torch.float32))


def decode(model: WorldModel, latents: torch.Tensor) -> NDArray[np.uint8]:
    """Frames uint8 [b t h w 3] of latents [b t c h w]."""
    flat = latents.flatten(0, 1).unsqueeze(0)
    chunks = [to_pixels(model.decode(chunk)[0]) for chunk in flat.split(_FRAMES_PER_CALL, dim=1)]
    frames = np.concatenate(chunks)
    return frames.reshape(*latents.shape[:2], *frames.shape[1:])
