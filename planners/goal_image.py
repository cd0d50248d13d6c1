"""Cost of not looking like a goal image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from planners.goal import Goal
from planners.objective import FRAMES_AT_ONCE, Outcome, Over
from v2w_env.frames import check_frames, to_model
from world_model.model import WorldModel

Features = Callable[[Tensor], Tensor]


class GoalImage(Goal):
    """Mean squared difference from a goal image.

    Sharp images of something out of place differ just as much wherever it is, and less if it is gone: a planner then
    hides it. Blurred ones say which way is nearer. Where things have to travel, give several ``blur`` widths, and
    compare pixels, whose values add up over space as latents' do not.

    Args:
        model: world model that the plan is made with.
        goal: uint8 ``[h w 3]``, or one per environment ``[b h w 3]``.
        space: ``"latent"`` compares latents (nothing is decoded), ``"pixels"`` frames in [0, 1], and a callable
            ``frames [m 3 h w] in [-1, 1] -> [m ...]`` the features that it gives.
        over: which steps count, see :class:`~planners.objective.Objective`.
        discount: of ``over="discounted"``.
        blur: standard deviations, as shares of the frame's height, of Gaussian blurs of latents or pixels; 0 is the
            sharp image. The costs of all are added, weighted so that small things count alike in each.
    """

    def __init__(
        self,
        model: WorldModel,
        goal: np.ndarray,
        space: Literal["latent", "pixels"] | Features = "latent",
        over: Over = "last",
        discount: float = 0.95,
        blur: Sequence[float] = (0.0,),
    ) -> None:
        super().__init__(over, discount)
        self.blur = tuple(blur)
        if not self.blur or not all(0 <= width <= 1 for width in self.blur):
            raise ValueError(f"blur: expected numbers from 0 to 1, at least one, got {list(blur)}")
        if callable(space) and any(self.blur):
            raise ValueError("blur: only latents and pixels can be blurred; let the callable do it")
        if not callable(space) and space not in ("latent", "pixels"):
            raise ValueError(f"space: expected 'latent', 'pixels' or a callable, got {space!r}")
        goal = check_frames(goal, "goal", ("h w 3", "b h w 3"), model.config.frame_size)
        self.space = space
        frames = to_model(goal if goal.ndim == 4 else goal[None], model.device)
        with torch.no_grad():
            if space == "latent":
                self.goal = model.encode(frames[:, None])[:, 0]
            else:
                self.goal = self._look(frames)

    def per_step(self, outcome: Outcome) -> Tensor:
        latents = outcome.latents
        b, n, h = latents.shape[:3]
        goal = self._per_candidate(b)
        if self.space == "latent":
            seen = latents
        else:
            seen = self._look(rearrange(outcome.frames, "b n h c y x -> (b n h) c y x"))
            seen = seen.unflatten(0, (b, n, h))
        difference = seen.float() - goal.to(seen.device).float()
        costs = [weight(width) * blurred(difference, width).square().flatten(3).mean(-1) for width in self.blur]
        return torch.stack(costs).sum(0)

    def _look(self, frames: Tensor) -> Tensor:
        """``[m 3 h w]`` in [-1, 1] to what is compared, ``[m ...]``."""
        if callable(self.space):
            return torch.cat([self._features(part) for part in frames.split(FRAMES_AT_ONCE)])
        return (frames + 1) / 2

    def _features(self, frames: Tensor) -> Tensor:
        assert callable(self.space)
        features = self.space(frames)
        if not isinstance(features, Tensor) or features.shape[:1] != frames.shape[:1]:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"space: expected the callable to give features [{len(frames)} ...], got {got}")
        return features


SMALL = 0.003  # share of the frame: an object of that size costs as much blurred as sharp


def weight(width: float) -> float:
    """What makes up for blurring by ``width``: it spreads the square of a small thing over an area of 4 pi width^2."""
    return max(1.0, 4 * math.pi * width**2 / SMALL)


def blurred(images: Tensor, width: float) -> Tensor:
    """``[... height width]`` under a Gaussian of deviation ``width * height``; nothing lies beyond the edge."""
    if width == 0:
        return images
    for dim in (-2, -1):
        places = torch.arange(images.shape[dim], dtype=torch.float32, device=images.device)
        apart = (places[:, None] - places) / (width * images.shape[-2])
        kernel = torch.exp(-(apart**2) / 2) / (width * images.shape[-2] * math.sqrt(2 * math.pi))
        images = (images.transpose(dim, -1) @ kernel).transpose(dim, -1)
    return images
