"""Recording a simulator into a dataset."""

from v2w_env.collect.config import CollectConfig
from v2w_env.collect.policies import POLICIES, resolve_policy
from v2w_env.collect.recorder import collect

__all__ = ["POLICIES", "CollectConfig", "collect", "resolve_policy"]
