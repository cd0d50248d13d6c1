"""The ways to step a published model: as the paper does, passing the whole window again and again, or streaming.

All take the same context latents, the same actions and the same noise, so that only the way tells their films apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2w_env.frames import to_model, to_pixels
from world_model.diffusion.samplers import ddim_table
from world_model.model import SamplingConfig, WorldModel
from world_model.network.normalization import TemporalNorm

SideName = Literal["clip", "clip_standard", "prefix", "frame"]
SIDES: tuple[SideName, ...] = ("clip", "clip_standard", "prefix", "frame")
EXACT = "clip"
_DECODED_AT_ONCE = 4  # frames; bounds the autoencoder's memory


@dataclass(frozen=True)
class Side:
    """One way to step.

    Attributes:
        name: `clip` as the paper's code does; `clip_standard` with its norms, without the quirks of its sampler, which
            cannot be streamed; `prefix` and `frame` stream.
    """

    name: SideName
    norm: TemporalNorm
    sampling: SamplingConfig


@dataclass(frozen=True)
class Dream:
    """One film: imagined frames uint8 [n h w 3], and the seconds that each took, without decoding, float64 [n]."""

    frames: NDArray[np.uint8]
    seconds: NDArray[np.float64]


def make_sides(model: WorldModel, names: Sequence[SideName], sampling: SamplingConfig) -> list[Side]:
    """The named ways to step, with `sampling` of the reference mode and, for the others, its standard counterpart.

    There, too, history is shown at the second lowest level that the sampler visits.

    Raises:
        ValueError: the model is not one of the published ones, which sample in the reference mode with norms over the
            whole clip.
    """
    norm = model.config.network.temporal_norm
    if norm != "clip" or sampling.mode != "reference":
        raise ValueError(
            "checkpoint: expected a published model, whose own temporal_norm is clip and sampling mode reference, got "
            f"{norm} and {sampling.mode}; models trained here stream exactly, benchmark=speed compares their ways"
        )
    table = ddim_table(model.schedule, sampling.num_sampling_steps, sampling.spacing, sampling.eta, False)
    standard = replace(sampling, mode="standard", history_noise_level=int(table.levels[1]))
    norms: dict[SideName, TemporalNorm] = {name: "clip" if name.startswith("clip") else name for name in SIDES}  # type: ignore[misc]
    return [Side(name, norms[name], sampling if name == EXACT else standard) for name in names]


def dream(model: WorldModel, side: Side, context: NDArray[np.uint8], actions: Tensor, seed: int) -> Dream:
    """Imagine what follows the context, a frame for every action that is left.

    Args:
        context: uint8 [k h w 3].
        actions: [t-1 a], first those between the context frames.
        seed: of all noise, with the next `n + 1` numbers. The noise of a frame follows from the seed and its place, so
            that it is the same for every side, whatever its sampler has drawn before.
    """
    model.set_temporal_norm(side.norm)
    known = len(context) - 1
    with torch.inference_mode():
        frames = to_model(context[None], model.device)
        latents = model.encode(frames, torch.Generator().manual_seed(seed))  # drawn, as the reference does
        taken = actions[None, :known].to(model.device)
        scene = model.scene(frames[:, 0], latents[:, 0], side.sampling)
        state = model.init_state(latents, taken, torch.Generator().manual_seed(seed + 1), side.sampling, scene)
        imagined, seconds = [], []
        for place, action in enumerate(actions[known:].to(model.device)):
            noise = torch.Generator().manual_seed(seed + 2 + place)
            begin = _now(model.device)
            state, latent = model.step(state, action[None], noise, side.sampling)
            seconds.append(_now(model.device) - begin)
            imagined.append(latent)
        film = torch.stack(imagined, dim=1)
        parts = [to_pixels(model.decode(part)[0]) for part in film.split(_DECODED_AT_ONCE, dim=1)]
    return Dream(np.concatenate(parts), np.array(seconds))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
