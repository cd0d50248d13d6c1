"""Reward from a Python callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from v2w_env.rewards.base import RewardModel, RewardOutput, Transition

RewardFunction = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray]], tuple[Any, Any]]


class FunctionReward(RewardModel):
    """Calls ``function(frames, actions, info) -> (reward, terminated)`` once per step for all sub-environments.

    ``frames`` is uint8 ``[n h w 3]``, ``actions`` ``[n *shape]`` in the simulator's units, and ``info`` holds
    ``elapsed_steps`` int64 ``[n]``. Reward and terminated are arrays ``[n]`` or single values for all.
    """

    def __init__(self, function: RewardFunction) -> None:
        self.function = function

    def evaluate(self, transition: Transition) -> RewardOutput:
        """Raises :class:`ValueError` if the function returns anything but numbers and bools of shape ``[n]``."""
        assert transition.frames is not None
        result = self.function(transition.frames, transition.actions, {"elapsed_steps": transition.elapsed_steps})
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ValueError(f"reward function: expected (reward, terminated), got {type(result).__name__}: {result!r}")
        n = len(transition.actions)
        rewards = _column("reward", result[0], n, "fiub")
        if not np.isfinite(rewards).all():
            raise ValueError(f"reward function: reward is not finite: {rewards}")
        return RewardOutput(rewards.astype(np.float64), _column("terminated", result[1], n, "b").astype(np.bool_))


def _column(name: str, value: Any, n: int, kinds: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in kinds or array.shape not in ((), (n,)):
        wanted = "bools" if kinds == "b" else "numbers"
        raise ValueError(
            f"reward function: expected {name} as {wanted} of shape ({n},), got {array.dtype} of shape {array.shape}"
        )
    return np.broadcast_to(array, (n,))
