"""Reward and termination as the world model's own head predicts them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from v2w_env.config import check_choice
from v2w_env.rewards.base import RewardModel, RewardOutput, Transition


class LearnedReward(RewardModel):
    """The reward head's expected reward, and an end drawn from its probability of termination.

    ``info`` reports ``termination_probability``.

    Sampling is the default because it is what calibration promises: if a hit kills in four of ten recorded cases, the
    head says 0.4 (all it can see is the hit), and four of ten imagined hits end the episode. Survival times then are
    those of the recording. With a threshold of 0.5 such a hit would be harmless, and an agent would learn that it is.
    A threshold makes episodes a function of the frames alone; it suits endings that are plainly to be seen.

    Args:
        termination: ``"sample"`` draws one number per step from the sub-environment's own generator; ``"threshold"``
            ends where the probability is above ``threshold``, and so does ``"sample"`` where there are no generators
            (planners compare plans, and do not want their ends drawn).
        threshold: between 0 and 1.
        floor: an end less probable than this never comes. What the head expects of any frame, because some ends could
            not be seen coming, is needed for survival times, but to an agent it is noise that nothing it does can
            change: with a floor, episodes end only where something is to be seen.

    Raises:
        ValueError: for other values.
    """

    needs_frames = False
    needs_head = True

    def __init__(
        self, termination: Literal["sample", "threshold"] = "sample", threshold: float = 0.5, floor: float = 0.0
    ) -> None:
        check_choice("termination", termination, ("sample", "threshold"))
        if not 0 < threshold < 1:
            raise ValueError(f"threshold: expected a probability between 0 and 1, got {threshold!r}")
        if not 0 <= floor < 1:
            raise ValueError(f"floor: expected a probability from 0 up to but not 1, got {floor!r}")
        self.termination, self.threshold, self.floor = termination, threshold, floor

    def evaluate(self, transition: Transition) -> RewardOutput:
        assert transition.predicted_rewards is not None and transition.termination_probabilities is not None
        rewards = transition.predicted_rewards.double().cpu().numpy()
        probabilities = transition.termination_probabilities.double().cpu().numpy()
        if not (np.isfinite(rewards).all() and np.isfinite(probabilities).all()):
            raise ValueError(f"reward head: expected finite predictions, got rewards {rewards} and {probabilities}")
        limit: np.ndarray | float = self.threshold
        if self.termination == "sample" and transition.generators is not None:
            limit = np.array([torch.rand((), generator=g, dtype=torch.float64).item() for g in transition.generators])
        ended = (probabilities > limit) & (probabilities >= self.floor)
        return RewardOutput(rewards, ended, {"termination_probability": probabilities})
