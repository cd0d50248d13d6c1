"""World models as Gymnasium environments.

Importing this registers ``Vid2World-PushT-v0``, ``Vid2World-PushTBlocks-v0`` (five actions a step, for planners),
``Vid2World-DoomTakeCover-v0``, those of the published models (``RT1``, ``CSGO``, ``RECON``) and ``Vid2World-v0``, which
takes any checkpoint; and one simulator, the real ``DoomTakeCover-v0``.

The public names are imported when first used, so that recording a simulator does not load the world model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from v2w_env.registration import register_shipped, register_simulators, register_world_model

if TYPE_CHECKING:
    from v2w_env.config import EnvConfig
    from v2w_env.datasets import DATASETS
    from v2w_env.env import Vid2WorldEnv
    from v2w_env.resets import EpisodeSource, ImageSource, ResetSource, Start
    from v2w_env.rewards import (
        FunctionReward,
        GoalImageReward,
        LearnedReward,
        NoReward,
        RewardModel,
        RewardOutput,
        Transition,
    )
    from v2w_env.state import EnvState
    from v2w_env.vector_env import Vid2WorldVectorEnv

_HOME = {
    "DATASETS": "v2w_env.datasets",
    "EnvConfig": "v2w_env.config",
    "EnvState": "v2w_env.state",
    "EpisodeSource": "v2w_env.resets",
    "FunctionReward": "v2w_env.rewards",
    "GoalImageReward": "v2w_env.rewards",
    "ImageSource": "v2w_env.resets",
    "LearnedReward": "v2w_env.rewards",
    "NoReward": "v2w_env.rewards",
    "ResetSource": "v2w_env.resets",
    "RewardModel": "v2w_env.rewards",
    "RewardOutput": "v2w_env.rewards",
    "Start": "v2w_env.resets",
    "Transition": "v2w_env.rewards",
    "Vid2WorldEnv": "v2w_env.env",
    "Vid2WorldVectorEnv": "v2w_env.vector_env",
}
__all__ = [
    "DATASETS",
    "EnvConfig",
    "EnvState",
    "EpisodeSource",
    "FunctionReward",
    "GoalImageReward",
    "ImageSource",
    "LearnedReward",
    "NoReward",
    "ResetSource",
    "RewardModel",
    "RewardOutput",
    "Start",
    "Transition",
    "Vid2WorldEnv",
    "Vid2WorldVectorEnv",
    "register_world_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'v2w_env' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


register_shipped()
register_simulators()
