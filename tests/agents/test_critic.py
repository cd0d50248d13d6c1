"""A critic that begins with recorded returns: what it learns, what it leaves alone, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from agents.algorithms import ALGORITHMS, AgentConfig, PPOConfig, make_agent
from agents.critic import CriticConfig, fit_critic
from agents.dream import load_dream
from agents.judge import EvaluationConfig
from agents.real import encoder
from agents.recorded_returns import RecordedReturns, discounted, read_returns
from agents.train import TrainConfig, make_training_env, train
from agents.wrappers import NormalizedRewards, RepeatedActions
from tests.agents.test_action_repeat import Counter
from tests.agents.test_train import Killed, Switch, curve, weights
from tests.trainer.outcomes import fade, write_outcomes
from world_model.data import open_dataset
from world_model.model import WorldModel

PPO = PPOConfig(n_steps=8, batch_size=8, n_epochs=1, gamma=0.9)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """How dark it is says how near the end."""
    return str(write_outcomes(tmp_path_factory.mktemp("critic") / "toy", 60, play=fade))


def config_of(ids: dict[str, str], folder: Path, dataset: str | None, **agent: Any) -> TrainConfig:
    settings = AgentConfig(PPO, num_envs=2, frame_stack=2, features="small", features_dim=16, **agent)
    return TrainConfig(
        ids["discrete"], folder=folder, agent=settings, steps=48, evaluation=EvaluationConfig(every=0), log_every=16,
        checkpoint_every=16, progress=False, critic=CriticConfig(dataset, epochs=12),
    )  # fmt: skip


def make(config: TrainConfig) -> tuple[BaseAlgorithm, VecEnv, WorldModel]:
    dream = load_dream(config.env_id, config.env_kwargs)
    env = make_training_env(config, dream)
    return make_agent(config.agent, env, 0), env, dream.world.model


def fit(agent: BaseAlgorithm, config: TrainConfig, model: WorldModel, seed: int = 0) -> dict[str, float]:
    return fit_critic(agent, config.critic, model, config.agent.action_repeat, seed, False)


@pytest.mark.parametrize("beyond", [0.0, 8.0])
def test_returns_are_discounted_per_decision(beyond: float) -> None:
    found = discounted(np.array([1, 2, 3, 4, 5]), 0.5, 2, beyond)
    last = 5 + 0.5 * beyond
    expected = [3 + 0.5 * (7 + 0.5 * last), 5 + 0.5 * (9 + 0.5 * beyond), 7 + 0.5 * last, 9 + 0.5 * beyond, last]
    assert found.tolist() == expected
    third = 3 + 0.5 * beyond
    second = 2 + 0.5 * third
    assert discounted(np.array([1, 2, 3]), 0.5, 1, beyond).tolist() == [1 + 0.5 * second, second, third]
    assert discounted(np.zeros(0), 0.5, 2, beyond).shape == (0,)


def test_observations_are_stacked_with_nothing_before_the_beginning() -> None:
    frames = np.arange(1, 5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 1, 1), np.uint8)
    recorded = RecordedReturns(frames, np.array([[-1, -1, 0], [0, 1, 2], [-1, 3, 3]]), (), ())
    found = recorded.observations(np.array([1, 0]))
    assert found.shape == (2, 6, 1, 1) and found[:, :, 0, 0].tolist() == [[1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1]]
    assert frames[0, 0, 0, 0] == 1  # what is recorded stays as it is


def test_each_episode_has_its_own_stacks_and_one_that_was_cut_is_worth_something(toy: str) -> None:
    recorded = open_dataset(toy)
    found = read_returns(recorded, "train", 2)
    episodes = recorded.episodes("train")
    assert {bool(episode.terminations[-1]) for episode in episodes} == {True, False}
    ended = [discounted(episode.rewards, 0.9, 3) for episode in episodes if episode.terminations[-1]]
    average, returns, row = np.concatenate(ended).mean(), found.returns(0.9, 3), 0
    for episode in episodes:
        seen = found.observations(np.arange(row, row + len(episode)))
        assert not seen[0, :3].any() and np.array_equal(seen[:, 3:], episode.frames[:-1].transpose(0, 3, 1, 2))
        assert np.array_equal(seen[1:, :3], episode.frames[:-2].transpose(0, 3, 1, 2))
        beyond = 0.0 if episode.terminations[-1] else average
        assert np.allclose(returns[row : row + len(episode)], discounted(episode.rewards, 0.9, 3, beyond))
        row += len(episode)
    assert row == len(found) == len(returns) == len(found.so_far(0.9, 3))


def test_latents_are_those_of_the_world_and_may_be_kept(
    toy: str, models: dict[str, WorldModel], tmp_path: Path
) -> None:
    recorded, model = open_dataset(toy), models["discrete"]
    frames, found = read_returns(recorded, "train", 2), read_returns(recorded, "train", 2, model, tmp_path)
    rows = np.array([0, 30, len(frames) - 1])
    seen = frames.observations(rows)[:, 3:].transpose(0, 2, 3, 1)
    assert np.allclose(found.observations(rows)[:, model.config.latent_shape[0] :], encoder(model)(seen), atol=2e-3)
    assert np.array_equal(found.stacks, frames.stacks) and found.ended == frames.ended
    assert np.array_equal(found.returns(0.9, 2), frames.returns(0.9, 2))
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"")
    with pytest.raises(ValueError, match="not readable"):
        read_returns(recorded, "train", 2, model, tmp_path)
    assert np.array_equal(read_returns(recorded, "train", 2, model).frames, found.frames)


def test_the_scale_of_rewards_is_counted_as_in_training() -> None:
    env = NormalizedRewards(RepeatedActions(DummyVecEnv([lambda: Counter(12)]), 3), norm_obs=False, gamma=0.5)
    env.reset()
    seen = []
    for _ in range(4):
        before = env.returns[0]
        env.step(np.zeros((1, 1), np.float32))
        seen.append(0.5 * before + env.old_reward[0])
    rewards = np.arange(1, 13, dtype=np.float32)
    recorded = RecordedReturns(np.zeros(0), np.zeros((0, 1), np.int64), (rewards,), (True,))
    assert recorded.so_far(0.5, 3)[2::3].tolist() == seen


@pytest.mark.parametrize("observation", ["pixels", "latent"])
def test_it_learns_what_the_recording_tells_and_leaves_the_policy_alone(
    ids: dict[str, str], toy: str, tmp_path: Path, observation: str
) -> None:
    config = replace(config_of(ids, tmp_path, toy, normalize_rewards=True), env_kwargs={"observation": observation})
    agent, env, model = make(config)
    before = {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}
    stream = torch.get_rng_state()
    found = fit(agent, config, model)
    assert torch.equal(torch.get_rng_state(), stream)
    assert found["explained_variance"] > 0.5 and found["explained_variance_train"] > 0.5
    after = agent.policy.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if name.startswith(("action_net", "mlp_extractor.policy"))} == set()
    assert any(name.startswith("features_extractor") for name in changed) and "value_net.weight" in changed
    normalize = unwrap_vec_normalize(env)
    assert normalize is not None and normalize.ret_rms.count > 100
    so_far = read_returns(open_dataset(toy), "train", 1).so_far(0.9, 1)
    assert np.isclose(normalize.ret_rms.var, so_far.var(), rtol=1e-3)
    env.close()


def test_the_same_seed_gives_the_same_critic(ids: dict[str, str], toy: str, tmp_path: Path) -> None:
    config, values = config_of(ids, tmp_path, toy), []
    for seed in (0, 0, 1):
        agent, env, model = make(config)
        fit(agent, config, model, seed)
        values.append(agent.policy.value_net.weight.detach().clone())
        env.close()
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


def test_a_run_that_is_killed_goes_on_and_fits_once(ids: dict[str, str], toy: str, tmp_path: Path) -> None:
    reward = Switch()
    whole = replace(config_of(ids, tmp_path / "whole", toy, normalize_rewards=True), env_kwargs={"reward": reward})
    train(whole)
    facts = json.loads((whole.folder / "critic.json").read_text())
    assert facts["steps"] > 10 and facts["frames"] > 100 and facts["explained_variance"] > 0.5
    killed = replace(whole, folder=tmp_path / "killed")
    for left in (4, 14):  # before there is a checkpoint, and behind the first one
        reward.left = left
        with pytest.raises(Killed):
            train(killed)
    reward.left = -1
    (killed.folder / "critic.json").unlink()
    train(killed)
    assert not (killed.folder / "critic.json").exists()
    expected, found = weights(whole.folder), weights(killed.folder)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert curve(whole.folder) == curve(killed.folder)


def test_where_latents_are_kept_makes_no_other_critic() -> None:
    config = CriticConfig("a", mirror=(0, 2, 1), latent_cache="b")
    assert json.dumps(config.identity()) == json.dumps(CriticConfig("a", mirror=(0.0, 2.0, 1.0)).identity())
    assert config.identity() != CriticConfig("a", epochs=2, mirror=(0, 2, 1)).identity() != CriticConfig("a").identity()


def test_mistakes_are_named_before_the_folder_is_claimed(ids: dict[str, str], toy: str, tmp_path: Path) -> None:
    dqn = ALGORITHMS["dqn"](buffer_size=20, learning_starts=10, batch_size=4)  # type: ignore[call-arg]
    folder = tmp_path / "run"
    config = config_of(ids, folder, toy)
    with pytest.raises(ValueError, match="only PPO and A2C have a critic of states, not DQN"):
        train(replace(config, agent=replace(config.agent, settings=dqn)))
    with pytest.raises(ValueError, match="no such folder"):
        train(config_of(ids, folder, str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match=r"critic.dataset .*: expected the world's actions, of shape \(2,\)"):
        train(replace(config, env_id=ids["box"]))
    with pytest.raises(ValueError, match="mirror: expected each action's mirror image"):
        train(replace(config, critic=CriticConfig(toy, mirror=(1, 0))))
    with pytest.raises(ValueError, match="epochs: expected at least 1, got 0"):
        CriticConfig(toy, epochs=0)
    assert not folder.exists()


def test_a_recording_must_have_rewards_and_frames_of_the_world(ids: dict[str, str], toy: str, tmp_path: Path) -> None:
    def silent(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        frames, actions, rewards, ended = fade(rng, steps)
        return frames, actions, np.zeros_like(rewards), ended

    def large(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        frames, *rest = fade(rng, steps)
        return frames.repeat(2, 1).repeat(2, 2), *rest

    with pytest.raises(ValueError, match="has no rewards, all of them are 0"):
        train(config_of(ids, tmp_path / "a", str(write_outcomes(tmp_path / "silent", 10, 8, silent))))
    with pytest.raises(ValueError, match=r"expected frames of \(16, 16\) \(h w\), got \(32, 32\)"):
        train(config_of(ids, tmp_path / "b", str(write_outcomes(tmp_path / "large", 10, 8, large))))
