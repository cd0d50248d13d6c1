"""Gymnasium's and Stable-Baselines3's own checkers find nothing to say."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from tests.env.conftest import small_clips, small_model
from v2w_env import EnvConfig, EpisodeSource, Vid2WorldEnv
from world_model.types import ActionSpec

# Both checkers recommend a Box of [-1, 1] to anybody with another one. PushT's own is [0, 512], and so is this.
# SB3's render check is left out: it closes the environment and then goes on using it.
RANGE_ADVICE = r"(?s).*we recommend (using|you to use) a symmetric and normalized.*"

SPECS = {
    "discrete": ActionSpec("discrete", (), nvec=(4,), start=(0,), dtype="int64"),
    "multi_discrete": ActionSpec("multi_discrete", (2,), nvec=(3, 5), start=(0, 0), dtype="int64"),
    "multi_binary": ActionSpec("multi_binary", (3,), dtype="int8"),
}


@pytest.mark.parametrize("reward", ["none", "goal_image"])
@pytest.mark.parametrize("action_range", ["normalized", "native"])
def test_made_by_id(world_id: str, action_range: str, reward: str) -> None:
    goal = np.zeros((40, 40, 3), np.uint8) if reward == "goal_image" else None
    env = gym.make(world_id, action_range=action_range, reward=reward, goal=goal, render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if action_range == "native":
            warnings.filterwarnings("ignore", message=RANGE_ADVICE, category=UserWarning)
        check_env(env)
        check_env_sb3(env)


@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_of_action(kind: str) -> None:
    clips = small_clips(SPECS[kind])
    source = EpisodeSource(clips["frames"], clips["actions"], context_frames=3)
    config = EnvConfig(checkpoint=small_model(SPECS[kind]), reset_source=source, render_mode="rgb_array")
    env = Vid2WorldEnv(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")  # made directly, not by id
        check_env(env)
        check_env_sb3(env)


def test_wrappers_of_gymnasium_work(world_id: str) -> None:
    env = gym.wrappers.vector.DictInfoToList(
        gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(world_id, num_envs=2, max_episode_steps=3))
    )
    env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            infos = env.step(env.action_space.sample())[4]
    assert [int(info["episode"]["l"]) for info in infos] == [3, 3]
