"""Imagining films from recorded context, frame by frame or all frames together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2w_env.frames import to_model, to_pixels
from world_model.config import SamplingConfig

_DECODED_AT_ONCE = 4  # frames; at 320x512 each takes the autoencoder about a gigabyte


class Imaginer(Protocol):
    """What of a `WorldModel` is needed here."""

    @property
    def device(self) -> torch.device: ...

    def encode(self, frames: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...

    def start(self, frames: Tensor, actions: Tensor, generator: Any, sampling: SamplingConfig | None = None) -> Any: ...

    def rollout(
        self, state: Any, actions: Tensor, generator: Any, sampling: SamplingConfig | None = None
    ) -> tuple[Any, Tensor]: ...

    def imagine_clip(
        self, frame: Tensor, actions: Tensor, generator: Any, sampling: SamplingConfig | None = None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Manner:
    """How films are imagined."""

    context_frames: int
    sampler: Literal["frame_by_frame", "all_at_once"]
    sampling: SamplingConfig | None
    seed: int


def imagine_films(
    model: Imaginer, context: NDArray[np.uint8], actions: Tensor, clips: Sequence[int], manner: Manner
) -> NDArray[np.uint8]:
    """Whole films, uint8 [b t h w 3]: the context as the autoencoder gives it back, then what is imagined.

    All at once, the first frame is imagined as well. The noise of a film follows from the seed and the number of its
    clip alone.

    Args:
        context: uint8 [b k h w 3].
        actions: [b t-1 a], first those between the context frames.
        clips: number of each film's clip.
    """
    generators = [torch.Generator().manual_seed(manner.seed * 1_000_003 + clip) for clip in clips]
    with torch.inference_mode():
        frames = to_model(context, model.device)
        actions = actions.to(model.device)
        if manner.sampler == "all_at_once":
            return _pixels(model, model.imagine_clip(frames[:, 0], actions, generators, manner.sampling))
        known = manner.context_frames - 1
        state = model.start(frames, actions[:, :known], generators, manner.sampling)
        _, latents = model.rollout(state, actions[:, known:], generators, manner.sampling)
        past = [model.encode(part) for part in frames.split(_DECODED_AT_ONCE, dim=1)]
        return _pixels(model, torch.cat([*past, latents.to(past[0])], dim=1))


def _pixels(model: Imaginer, latents: Tensor) -> NDArray[np.uint8]:
    parts = [to_pixels(model.decode(part)) for part in latents.split(_DECODED_AT_ONCE, dim=1)]
    return np.concatenate(parts, axis=1)
