"""Stable-Baselines3 agents trained in an imagined world, and judged in the real one.

The public names are imported when first used. :func:`agents.train.train` and :func:`agents.evaluate.evaluate` stay in
their modules, which are called the same.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.algorithms import A2CConfig, AgentConfig, DQNConfig, PPOConfig, SACConfig
    from agents.arena import Arena, DreamArena, RealArena
    from agents.critic import CriticConfig
    from agents.dream import GuardConfig, load_dream, make_dream
    from agents.errors import DreamError
    from agents.evaluate import Evaluation
    from agents.judge import EvaluationConfig
    from agents.loading import load_agent
    from agents.policies import FunctionPolicy, Policy, RandomPolicy, RecordedActions, load_policy
    from agents.real import RealEnv, encoder, make_real, make_real_env
    from agents.sb3_policy import SB3Policy
    from agents.sb3_vec_env import WorldModelVecEnv
    from agents.train import TrainConfig

_HOME = {
    "A2CConfig": "algorithms",
    "AgentConfig": "algorithms",
    "Arena": "arena",
    "CriticConfig": "critic",
    "DQNConfig": "algorithms",
    "DreamArena": "arena",
    "DreamError": "errors",
    "Evaluation": "evaluate",
    "EvaluationConfig": "judge",
    "FunctionPolicy": "policies",
    "GuardConfig": "dream",
    "PPOConfig": "algorithms",
    "Policy": "policies",
    "RandomPolicy": "policies",
    "RealArena": "arena",
    "RealEnv": "real",
    "RecordedActions": "policies",
    "SACConfig": "algorithms",
    "SB3Policy": "sb3_policy",
    "TrainConfig": "train",
    "WorldModelVecEnv": "sb3_vec_env",
    "encoder": "real",
    "load_agent": "loading",
    "load_dream": "dream",
    "load_policy": "policies",
    "make_dream": "dream",
    "make_real": "real",
    "make_real_env": "real",
}
__all__ = [
    "A2CConfig",
    "AgentConfig",
    "Arena",
    "CriticConfig",
    "DQNConfig",
    "DreamArena",
    "DreamError",
    "Evaluation",
    "EvaluationConfig",
    "FunctionPolicy",
    "GuardConfig",
    "PPOConfig",
    "Policy",
    "RandomPolicy",
    "RealArena",
    "RealEnv",
    "RecordedActions",
    "SACConfig",
    "SB3Policy",
    "TrainConfig",
    "WorldModelVecEnv",
    "encoder",
    "load_agent",
    "load_dream",
    "load_policy",
    "make_dream",
    "make_real",
    "make_real_env",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agents' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"agents.{_HOME[name]}"), name)
