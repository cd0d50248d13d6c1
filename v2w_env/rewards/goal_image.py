"""Reward for looking like a goal image."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from v2w_env.config import check_choice
from v2w_env.rewards.base import RewardModel, RewardOutput, Transition


class GoalImageReward(RewardModel):
    """Minus the distance to a goal image; terminated once the distance is at most ``threshold``.

    The distance is the root mean square difference, of pixels in [0, 1] or of latents of about unit variance.
    ``info`` reports ``goal_distance`` and ``is_success``.

    Args:
        goal: uint8 ``[h w 3]``; may be left out and given to ``reset(options={"goal": image})``.
        space: ``"pixels"`` or ``"latent"``.
        threshold: Distance that counts as success; ``None`` never terminates.
    """

    def __init__(
        self,
        goal: np.ndarray | None = None,
        space: Literal["pixels", "latent"] = "pixels",
        threshold: float | None = 0.05,
    ) -> None:
        check_choice("goal_image space", space, ("pixels", "latent"))
        if threshold is not None and not threshold >= 0:
            raise ValueError(f"goal_image threshold: expected a distance >= 0 or None, got {threshold!r}")
        self.goal, self.goal_space, self.threshold = goal, space, threshold
        self.needs_frames = space == "pixels"

    def evaluate(self, transition: Transition) -> RewardOutput:
        assert transition.goals is not None
        goals = transition.goals.float()
        if self.goal_space == "pixels":
            assert transition.frames is not None
            frames = torch.from_numpy(transition.frames).to(goals.device)
            squares = (frames.float() - goals).div_(255.0).square_()
        else:
            squares = (transition.latents.float() - goals).square()
        distance = squares.flatten(1).mean(1).sqrt().double().cpu().numpy()
        success = np.zeros(len(distance), np.bool_) if self.threshold is None else distance <= self.threshold
        return RewardOutput(-distance, success, {"goal_distance": distance, "is_success": success})
