"""The model that ships with the package: it is small enough, loads, steps and follows its actions."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import v2w_env  # noqa: F401  (registers the ids)
from benchmarks.pusht_tracking import track
from v2w_env.registration import BUNDLES
from world_model import bundle
from world_model.model import WorldModel

FOLDER = BUNDLES / "pusht"


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return WorldModel.from_pretrained(FOLDER)


def test_files_are_whole_and_small() -> None:
    sizes = {path.name: path.stat().st_size for path in Path(FOLDER).iterdir()}
    assert sizes.keys() == {"config.yaml", "model.safetensors", "episodes.npz", "card.md"}
    assert max(sizes.values()) <= 10e6


def test_spaces_are_those_of_the_simulator() -> None:
    import gym_pusht  # noqa: F401  (registers its id)

    real = gym.make("gym_pusht/PushT-v0", obs_type="pixels", observation_width=64, observation_height=64)
    imagined = gym.make("Vid2World-PushT-v0")
    assert imagined.observation_space == real.observation_space
    assert imagined.action_space == real.action_space
    assert imagined.spec is not None and real.spec is not None
    assert imagined.spec.max_episode_steps == real.spec.max_episode_steps


@pytest.mark.parametrize("num_envs", [1, 4, 16])
def test_trajectories_do_not_depend_on_the_batch(num_envs: int) -> None:
    """At most 1e-4 in pixels of [0, 1], before rounding to grey levels, after 50 steps in float32."""
    envs = gym.make_vec("Vid2World-PushT-v0", num_envs=num_envs, dtype="float32", observation="latent")
    alone = gym.make("Vid2World-PushT-v0", dtype="float32", observation="latent")
    index = num_envs - 1
    envs.reset(seed=5)
    alone.reset(seed=5 + index)
    rng = np.random.default_rng(0)
    model = WorldModel.from_pretrained(FOLDER)
    for _ in range(50):
        actions = rng.uniform(0, 512, (num_envs, 2)).astype(np.float32)
        batch = envs.step(actions)[0]
        one = alone.step(actions[index])[0]
    pair = torch.from_numpy(np.stack([batch[index], one]))[:, None]
    with torch.no_grad():
        frames = model.decode(pair)
    assert float((frames[0] - frames[1]).abs().max()) / 2 <= 1e-4


def test_the_agent_goes_where_the_action_says(model: WorldModel) -> None:
    clips = bundle.load_episodes(FOLDER, model.config.actions)
    assert clips is not None
    env = gym.make("Vid2World-PushT-v0")
    ends = []
    for target in ([128.0, 128.0], [384.0, 128.0]):
        env.reset(seed=0, options={"frames": clips["frames"][0], "actions": clips["actions"][0]})
        for _ in range(12):
            frame = env.step(np.array(target, np.float32))[0]
        ends.append(track(frame[None]).agent[0])
    assert np.linalg.norm(ends[0] - [16, 16]) < 4 and np.linalg.norm(ends[1] - [48, 16]) < 4
