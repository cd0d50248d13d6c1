"""From what the user wrote at ``make`` to a reward model."""

from __future__ import annotations

import numpy as np

from v2w_env.config import check_names
from v2w_env.rewards.base import RewardModel
from v2w_env.rewards.function import FunctionReward, RewardFunction
from v2w_env.rewards.goal_image import GoalImageReward
from v2w_env.rewards.learned import LearnedReward
from v2w_env.rewards.none import NoReward


def choose_reward(
    reward: str | RewardModel | RewardFunction | None, goal: np.ndarray | None = None, has_head: bool = False
) -> RewardModel:
    """``"learned"``, ``"none"``, ``"goal_image"``, a ready model, a callable ``(frames, actions, info) -> (reward,
    terminated)``, or ``None``: learned if the world model has a reward head, else none.

    Args:
        has_head: Whether it does.

    Raises:
        ValueError: An unknown name, a goal for a reward that takes none, or no head where one is needed.
    """
    if goal is not None and reward != "goal_image":
        raise ValueError(f"goal: only reward='goal_image' takes a goal at make, got reward={reward!r}")
    chosen = _choose(("learned" if has_head else "none") if reward is None else reward, goal)
    if chosen.needs_head and not has_head:
        raise ValueError(
            "reward='learned': this world model has no reward head; train one with `v2w train train=reward "
            "world_model=FOLDER dataset=FOLDER`, or make the environment with another reward"
        )
    return chosen


def _choose(reward: str | RewardModel | RewardFunction, goal: np.ndarray | None) -> RewardModel:
    if isinstance(reward, RewardModel):
        return reward
    if isinstance(reward, str):
        check_names("reward", [reward], ["learned", "none", "goal_image"])
        if reward == "learned":
            return LearnedReward()
        return GoalImageReward(goal) if reward == "goal_image" else NoReward()
    if callable(reward):
        return FunctionReward(reward)
    raise ValueError(f"reward: expected 'learned', 'none', 'goal_image', a RewardModel or a callable, got {reward!r}")
