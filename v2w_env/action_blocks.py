"""A simulator that takes several actions at a time, as world models with ``action_block`` do."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from v2w_env.spaces import space_from_spec
from world_model.data.minari_dataset import action_spec


class ActionBlocks(gym.Wrapper[Any, np.ndarray, Any, Any]):
    """Each step takes a block of actions ``[length, *shape]`` and performs them one after the other.

    The observation and the info are those after the last one, rewards are summed; a block ends early with the episode.

    Raises:
        ValueError: an action space that blocks cannot be made of, or a length below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], length: int) -> None:
        super().__init__(env)
        self.length = length
        self.action_space = space_from_spec(action_spec(env.action_space).block(length))

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if len(action) != self.length:
            raise ValueError(f"action: expected a block of {self.length}, got {len(action)}")
        total = 0.0
        for one in action:
            observation, reward, terminated, truncated, info = self.env.step(one)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info
