"""Agents that decide every few steps: what they earn and see in training, and what they do afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor

from agents.algorithms import AgentConfig, PPOConfig, make_agent
from agents.checkpoint import save_agent
from agents.loading import load_agent
from agents.sb3_policy import SB3Policy
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import NormalizedRewards, RepeatedActions, stacked
from world_model.model import WorldModel

Make = Callable[..., WorldModelVecEnv]


class Counter(gym.Env[np.ndarray, np.ndarray]):
    """Shows and pays the number of the step, and ends after `length` of them."""

    observation_space = gym.spaces.Box(0, 100, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int) -> None:
        self.length, self.taken, self.count = length, [], 0  # type: ignore[var-annotated]

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        self.taken.append(float(action[0]))
        return np.full(1, self.count, np.float32), self.count, self.count == self.length, False, {"count": self.count}


def counters(*lengths: int) -> DummyVecEnv:
    return DummyVecEnv([lambda length=length: Counter(length) for length in lengths])  # type: ignore[misc]


def test_actions_are_repeated_and_rewards_add_up() -> None:
    inner = counters(100, 4)
    env = RepeatedActions(VecMonitor(inner), 3)
    assert np.array_equal(env.reset(), [[0], [0]])
    observations, rewards, dones, infos = env.step(np.array([[0.5], [-0.5]], np.float32))
    assert np.array_equal(observations, [[3], [3]]) and rewards.tolist() == [6, 6] and not dones.any()
    observations, rewards, dones, infos = env.step(np.array([[0.1], [0.2]], np.float32))
    # The second row ends with its fourth step; the two that are left are the first of its next episode, unpaid.
    assert rewards.tolist() == [15, 4] and dones.tolist() == [False, True]
    assert np.array_equal(observations, [[6], [2]])
    assert infos[1]["terminal_observation"].tolist() == [4] and infos[1]["episode"]["r"] == 10
    assert infos[0]["count"] == 6 and "episode" not in infos[0]
    _, rewards, dones, _ = env.step(np.zeros((2, 1), np.float32))
    assert rewards.tolist() == [24, 3 + 4] and dones.tolist() == [False, True]
    assert inner.envs[0].unwrapped.taken == pytest.approx([0.5] * 3 + [0.1] * 3 + [0.0] * 3)


def test_stacked_observations_are_of_every_step() -> None:
    env = RepeatedActions(VecFrameStack(counters(100), 4), 3)
    env.reset()
    observations, *_ = env.step(np.zeros((1, 1), np.float32))
    assert observations.tolist() == [[0, 1, 2, 3]]


def test_a_time_limit_does_not_end_a_return() -> None:
    """Rewards are divided by the deviation of returns; that of an episode which is cut short goes on."""
    limited = DummyVecEnv([lambda: TimeLimit(Counter(100), 2), lambda: Counter(2)])
    env = NormalizedRewards(limited, norm_obs=False, gamma=0.5)
    env.reset()
    returns = []
    for _ in range(4):
        env.step(np.zeros((2, 1), np.float32))
        returns.append(env.returns.tolist())
    assert returns == [[1, 1], [2.5, 0], [2.25, 1], [3.125, 0]]


def test_a_saved_agent_repeats_its_actions(dream: Make, models: dict[str, WorldModel], tmp_path: Path) -> None:
    env = dream("box", 2)
    config = AgentConfig(PPOConfig(n_steps=4, batch_size=8), 2, 1, "small", 8, net_arch=(8,), action_repeat=3)
    path = save_agent(make_agent(config, RepeatedActions(stacked(env, 1), 3), 0), tmp_path / "agent.zip")
    assert PPO.load(path).action_repeat == 3  # type: ignore[attr-defined]
    policy = SB3Policy(load_agent(path), models["box"].config, deterministic=False)
    once = SB3Policy(
        make_agent(AgentConfig(config.settings, 2, 1, "small", 8), stacked(env, 1), 0), models["box"].config
    )
    assert once._repeat == 1
    frames = np.random.default_rng(0).integers(0, 256, (8, 2, 16, 16, 3), np.uint8)
    policy.reset([0, 5])
    taken = []
    for step, seen in enumerate(frames):
        if step == 4:
            policy.reset([5])  # its next episode begins, with a decision
        taken.append(policy.act(seen, [0, 5]))
    first, second = np.swapaxes(np.array(taken), 0, 1)
    for row, decisions in ((first, [0, 3, 6]), (second, [0, 3, 4, 7])):
        changes = [0, *(i for i in range(1, 8) if not np.array_equal(row[i], row[i - 1]))]
        assert changes == decisions


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="action_repeat: expected at least 1, got 0"):
        AgentConfig(action_repeat=0)
