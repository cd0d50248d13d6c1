"""A simulator at a world model's pace: one step for one of its actions, as with its `frame_skip` and `action_block`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from v2w_env.spaces import space_from_spec
from world_model.data.minari_dataset import action_spec


class ActionBlocks(gym.Wrapper[Any, np.ndarray, Any, Any]):
    """Each step takes a block of actions ``[length, *shape]`` and performs them one after the other.

    The observation and the info are those after the last one, rewards are summed; a block ends early with the episode.

    Args:
        length: Actions in a block; with 1, steps take single actions ``[*shape]``.
        frame_skip: Steps of the simulator that each action is held for.

    Attributes:
        simulator_steps: Steps of the simulator that the last step took.

    Raises:
        ValueError: an action space that blocks cannot be made of, or a length below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], length: int, frame_skip: int = 1) -> None:
        super().__init__(env)
        self.length, self.frame_skip, self.simulator_steps = length, frame_skip, 0
        if length != 1:
            self.action_space = space_from_spec(action_spec(env.action_space).block(length))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.length > 1 and len(action) != self.length:
            raise ValueError(f"action: expected a block of {self.length}, got {len(action)}")
        block = action if self.length > 1 else [action]
        total, self.simulator_steps = 0.0, 0
        for held in (one for one in block for _ in range(self.frame_skip)):
            observation, reward, terminated, truncated, info = self.env.step(held)
            total, self.simulator_steps = total + float(reward), self.simulator_steps + 1
            if terminated or truncated:
                break
        return observation, total, bool(terminated), bool(truncated), info
