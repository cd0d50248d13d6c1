"""Rewards and endings of the world model's own head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from tests.env.conftest import small_clips, small_model
from v2w_env import EnvConfig, LearnedReward, NoReward, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from v2w_env.rewards import Transition, choose_reward
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig

CONFIG = RewardHeadConfig(channels=8, features=16, memory=12, action_features=8)


@pytest.fixture(scope="module")
def judging() -> WorldModel:
    """The small model with a random head that ends about one episode in five at each step."""
    model = small_model()
    torch.manual_seed(1)
    head = RewardHead(CONFIG, model.config.actions, model.config.latent_shape)
    head.set_statistics(torch.tensor([1.0, 3.0]), torch.tensor([True] + [False] * 4))
    torch.nn.init.normal_(head.judge.weight, std=0.5)
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=CONFIG)
    return model


def make(model: WorldModel, source: EpisodeSource, num_envs: int, **settings: Any) -> Vid2WorldVectorEnv:
    mode = settings.pop("autoreset_mode", AutoresetMode.NEXT_STEP)
    return Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source, **settings), num_envs, None, mode)


def actions(steps: int, num_envs: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 512, (steps, num_envs, 2)).astype(np.float32)


def test_a_head_is_the_default_and_the_others_stay(
    judging: WorldModel, model: WorldModel, source: EpisodeSource
) -> None:
    env = make(judging, source, 2)
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(actions(1, 2)[0])
    state = env.get_state()
    assert judging.reward_head is not None and state.world.memory is not None
    reward, probability = judging.reward_head.predict(state.world.memory)
    assert rewards == pytest.approx(reward.double().numpy()) and rewards.dtype == np.float64
    assert infos["termination_probability"] == pytest.approx(probability.double().numpy())
    for settings in ({"reward": "none"}, {"reward": NoReward()}):
        env = make(judging, source, 2, **settings)
        env.reset(seed=0)
        assert env.step(actions(1, 2)[0])[1].tolist() == [0, 0]
    env = make(model, source, 2)
    env.reset(seed=0)
    assert env.step(actions(1, 2)[0])[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"no reward head; train one with `v2w train train=reward"):
        make(model, source, 2, reward="learned")
    with pytest.raises(ValueError, match="no reward head"):
        make(model, source, 2, reward=LearnedReward(termination="threshold"))


def test_drawn_ends_are_the_same_in_any_batch(judging: WorldModel, source: EpisodeSource) -> None:
    plan = actions(12, 3)
    env = make(judging, source, 3)
    env.reset(seed=7)
    together = [env.step(step)[1:3] for step in plan]
    ended = np.stack([terminated for _, terminated in together])
    assert 3 <= ended.sum() <= 20
    for row in range(3):
        alone = make(judging, source, 1)
        alone.reset(seed=7 + row)
        for step, (rewards, terminated) in zip(plan, together, strict=True):
            _, reward, end, _, _ = alone.step(step[row : row + 1])
            assert end[0] == terminated[row] and reward[0] == pytest.approx(rewards[row], abs=1e-4)


def test_drawn_ends_follow_the_probability() -> None:
    n = 3000
    probabilities = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).repeat(n)
    seen = Transition(
        latents=torch.zeros(5 * n, 1, 1, 1),
        actions=np.zeros((5 * n, 1)),
        elapsed_steps=np.ones(5 * n, np.int64),
        predicted_rewards=torch.ones(5 * n),
        termination_probabilities=probabilities,
        generators=[torch.Generator().manual_seed(seed) for seed in range(5 * n)],
    )
    ended = LearnedReward().evaluate(seen).terminated.reshape(n, 5).mean(0)
    assert ended == pytest.approx([0.0, 0.1, 0.5, 0.9, 1.0], abs=0.04) and ended[0] == 0 and ended[4] == 1
    floored = LearnedReward(floor=0.3).evaluate(seen).terminated.reshape(n, 5).mean(0)
    assert floored == pytest.approx([0.0, 0.0, 0.5, 0.9, 1.0], abs=0.04) and floored[1] == 0
    # Without generators nothing is drawn.
    certain = LearnedReward().evaluate(replace(seen, generators=None)).terminated.reshape(n, 5)
    assert certain.all(0).tolist() == certain.any(0).tolist() == [False, False, False, True, True]
    with pytest.raises(ValueError, match="finite"):
        LearnedReward().evaluate(replace(seen, predicted_rewards=torch.full((5 * n,), torch.nan)))


def test_a_threshold_draws_nothing(judging: WorldModel, source: EpisodeSource) -> None:
    def frames(**settings: Any) -> tuple[np.ndarray, np.ndarray]:
        env = make(judging, source, 2, **settings)
        env.reset(seed=0)
        steps = [env.step(step) for step in actions(3, 2)]
        return np.stack([step[0] for step in steps]), np.stack([step[2] for step in steps])

    certain = frames(reward=LearnedReward("threshold", threshold=0.999))
    assert not certain[1].any() and np.array_equal(certain[0], frames(reward="none")[0])
    env = make(judging, source, 2, reward=LearnedReward("threshold", threshold=1e-6))
    env.reset(seed=0)
    assert env.step(actions(1, 2)[0])[2].all()


def test_states_and_forks_remember(judging: WorldModel, source: EpisodeSource) -> None:
    env = make(judging, source, 2, reward=LearnedReward("threshold", threshold=0.999))
    env.reset(seed=0)
    plan = actions(6, 2)
    for step in plan[:3]:
        env.step(step)
    state = env.get_state()
    ahead = [env.step(step)[1] for step in plan[3:]]
    env.set_state(state)
    assert np.array_equal(ahead, [env.step(step)[1] for step in plan[3:]])
    env.set_state(state)
    branch = env.fork(2, index=1)
    for step, rewards in zip(plan[3:], ahead, strict=True):
        forked = branch.step(np.stack([step[1], step[1]]))[1]
        assert forked == pytest.approx([rewards[1]] * 2, abs=1e-4)


def test_the_memory_starts_afresh_with_an_episode(judging: WorldModel, source: EpisodeSource) -> None:
    clips = small_clips()
    start = {"frames": clips["frames"][0, :4], "actions": clips["actions"][0, :3]}
    env = Vid2WorldEnv(EnvConfig(checkpoint=judging, reset_source=source, reward=LearnedReward("threshold", 0.999)))
    returns = []
    for steps in (1, 5):
        env.reset(seed=3, options=start)
        rewards = [env.step(step[0])[1] for step in actions(steps, 1)]
        returns.append(rewards[0])
    assert returns[0] == returns[1]


def test_bad_choices(judging: WorldModel) -> None:
    with pytest.raises(ValueError, match="termination.*'always'"):
        LearnedReward("always")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold.*0"):
        LearnedReward("threshold", threshold=0.0)
    with pytest.raises(ValueError, match="floor.*1"):
        LearnedReward(floor=1.0)
    with pytest.raises(ValueError, match="did you mean 'learned'"):
        choose_reward("learnt", has_head=True)


def test_take_cover_is_registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = gym.spec("Vid2World-DoomTakeCover-v0")
    assert spec.max_episode_steps == 525
    monkeypatch.setattr("v2w_env.weights.BUNDLES", tmp_path)
    with pytest.raises(FileNotFoundError, match="'doom_take_cover' is not in this installation"):
        gym.make("Vid2World-DoomTakeCover-v0", checkpoint=str(tmp_path / "doom_take_cover"))
