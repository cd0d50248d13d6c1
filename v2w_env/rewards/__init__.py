"""Rewards and terminations of imagined episodes, one class each."""

from v2w_env.rewards.base import RewardModel, RewardOutput, Transition
from v2w_env.rewards.choose import choose_reward
from v2w_env.rewards.function import FunctionReward, RewardFunction
from v2w_env.rewards.goal_image import GoalImageReward
from v2w_env.rewards.learned import LearnedReward
from v2w_env.rewards.none import NoReward

__all__ = [
    "FunctionReward",
    "GoalImageReward",
    "LearnedReward",
    "NoReward",
    "RewardFunction",
    "RewardModel",
    "RewardOutput",
    "Transition",
    "choose_reward",
]
