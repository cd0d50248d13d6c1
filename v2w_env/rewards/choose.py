"""From what the user wrote at ``make`` to a reward model."""

from __future__ import annotations

import numpy as np

from v2w_env.config import check_names
from v2w_env.rewards.base import RewardModel
from v2w_env.rewards.function import FunctionReward, RewardFunction
from v2w_env.rewards.goal_image import GoalImageReward
from v2w_env.rewards.none import NoReward


def choose_reward(reward: str | RewardModel | RewardFunction, goal: np.ndarray | None = None) -> RewardModel:
    """``"none"``, ``"goal_image"``, a ready model, or a callable ``(frames, actions, info) -> (reward, terminated)``.

    Raises:
        ValueError: An unknown name, or a goal for a reward that takes none.
    """
    if goal is not None and reward != "goal_image":
        raise ValueError(f"goal: only reward='goal_image' takes a goal at make, got reward={reward!r}")
    if isinstance(reward, RewardModel):
        return reward
    if isinstance(reward, str):
        check_names("reward", [reward], ["none", "goal_image"])
        return GoalImageReward(goal) if reward == "goal_image" else NoReward()
    if callable(reward):
        return FunctionReward(reward)
    raise ValueError(f"reward: expected 'none', 'goal_image', a RewardModel or a callable, got {reward!r}")
