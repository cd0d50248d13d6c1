"""No reward: the world runs, nobody judges."""

from __future__ import annotations

import numpy as np

from v2w_env.rewards.base import RewardModel, RewardOutput, Transition


class NoReward(RewardModel):
    """Reward 0, never terminated."""

    needs_frames = False

    def evaluate(self, transition: Transition) -> RewardOutput:
        n = len(transition.actions)
        return RewardOutput(np.zeros(n), np.zeros(n, np.bool_))
