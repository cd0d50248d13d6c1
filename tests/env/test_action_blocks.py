"""A simulator that takes several actions at a time."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from v2w_env.action_blocks import ActionBlocks


class Counter(gym.Env):
    """Writes down its actions; the episode ends with the fifth."""

    action_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    observation_space = gym.spaces.Discrete(100)

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.taken = []
        return 0, {}

    def step(self, action: np.ndarray) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.taken.append(action)
        return len(self.taken), 1.0, len(self.taken) == 5, False, {"count": len(self.taken)}


def test_blocks_are_played_in_order_and_end_with_the_episode() -> None:
    counter = Counter()
    env = ActionBlocks(counter, 3)
    assert env.action_space.shape == (3, 2)
    env.reset()
    block = env.action_space.sample()
    observation, reward, terminated, truncated, info = env.step(block)
    assert (observation, reward, terminated, truncated, info) == (3, 3.0, False, False, {"count": 3})
    assert np.array_equal(counter.taken, block)
    observation, reward, terminated, _, _ = env.step(block)
    assert (observation, reward, terminated) == (5, 2.0, True)


def test_each_action_of_a_block_is_held() -> None:
    counter = Counter()
    env = ActionBlocks(counter, 2, frame_skip=2)
    env.reset()
    first, second = block = env.action_space.sample()
    assert env.step(block)[:2] == (4, 4.0) and env.simulator_steps == 4
    assert np.array_equal(counter.taken, [first, first, second, second])
    assert env.step(block)[:3] == (5, 1.0, True) and env.simulator_steps == 1


def test_single_actions_are_held_as_they_are() -> None:
    counter = Counter()
    env = ActionBlocks(counter, 1, frame_skip=3)
    assert env.action_space is counter.action_space
    env.reset()
    assert env.step(action := env.action_space.sample())[:2] == (3, 3.0) and env.simulator_steps == 3
    assert np.array_equal(counter.taken, [action] * 3)


def test_wrong_lengths() -> None:
    with pytest.raises(ValueError, match="action_block"):
        ActionBlocks(Counter(), 0)
    env = ActionBlocks(Counter(), 3)
    env.reset()
    with pytest.raises(ValueError, match="expected a block of 3, got 2"):
        env.step(np.zeros((2, 2), np.float32))
