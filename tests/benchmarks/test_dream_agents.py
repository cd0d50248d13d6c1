"""Agents that learn in the dream against agents that learn in the simulator: who is trained, judged, and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import agents.train
from agents.algorithms import PPOConfig
from agents.critic import CriticConfig
from agents.dream import GuardConfig
from benchmarks import dream_agents
from benchmarks.dream_agents import DreamAgentsConfig, Score, _settled, main, summary
from configs import load
from tests.conftest import make_tiny_model
from tests.trainer.outcomes import SIZE, write_outcomes
from v2w.agent import train_config
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.types import ActionSpec

ACTIONS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")


class Dice(gym.Env[np.ndarray, Any]):
    """Ends after each step with a chance of one in four, whatever one does; every step earns 2."""

    observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros((SIZE, SIZE, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Dice.steps += 1
        return np.zeros((SIZE, SIZE, 3), np.uint8), 2.0, bool(self.np_random.random() < 0.25), False, {}


@pytest.fixture(scope="module")
def dice() -> Iterator[str]:
    gym.register("Dice-v0", Dice)
    yield "Dice-v0"
    del gym.registry["Dice-v0"]


@pytest.fixture(scope="module")
def settings(dice: str, tmp_path_factory: pytest.TempPathFactory) -> DreamAgentsConfig:
    few_layers = {"attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    model = make_tiny_model(ACTIONS, (SIZE, SIZE), model_channels=8, channel_mult=(1,), **few_layers)
    head = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)
    model.reward_head = RewardHead(head, ACTIONS, model.config.latent_shape)
    model.reward_head.set_statistics(torch.full((3,), 2.0), torch.tensor([True, False, False]))
    model.config = replace(model.config, reward_head=head, source_env=dice)
    clips = {"frames": np.zeros((2, 4, SIZE, SIZE, 3), np.uint8), "actions": np.zeros((2, 3), np.int64)}
    folder = model.save_pretrained(tmp_path_factory.mktemp("world"), clips)
    dataset = write_outcomes(tmp_path_factory.mktemp("data") / "toy", 8, steps=6)
    return DreamAgentsConfig(
        env_id="Vid2World-v0",
        env_kwargs={"checkpoint": str(folder), "observation": "latent"},
        dataset=str(dataset),
        steps=16,
        seeds=2,
        episodes=9,
        horizon=20,
        dream_horizon=6,
        ppo=PPOConfig(n_steps=8, batch_size=8, n_epochs=1),
        num_envs=2,
        frame_stack=2,
        features_dim=8,
        keep_every=None,
        critic=CriticConfig(),
    )


def test_all_are_judged_alike_and_nothing_is_done_twice(
    settings: DreamAgentsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(settings, work=str(tmp_path / "work"), results=str(tmp_path / "results"))
    found = main(config)
    # What one does makes no difference here, so the same seeds give the same episodes.
    assert found["dream_score"] == found["real_score"] == found["random_score"] > 2
    assert found["dream_worst_seed"] == found["dream_best_seed"] and found["dream_minus_real"] == 0
    assert found["real_steps"] == 6 * 6  # of the training split's episodes
    assert sorted(path.name for path in (tmp_path / "work").glob("*_*")) == ["dream_0", "dream_1", "real_0", "real_1"]
    text = (tmp_path / "results" / "dream_agents.md").read_text()
    assert "| dream | 1 |" in text and "| random | 0 |" in text and "FAIL" in text
    assert json.loads((tmp_path / "results" / "dream_agents.json").read_text())["real_steps"] == 36
    played = Dice.steps
    monkeypatch.setattr(dream_agents, "train", lambda config: pytest.fail("trained again"))
    assert main(config) == found and Dice.steps == played


def test_an_agent_of_other_settings_is_not_taken_for_this_one(settings: DreamAgentsConfig, tmp_path: Path) -> None:
    config = replace(settings, seeds=1, episodes=2, work=str(tmp_path / "work"), results=str(tmp_path))
    main(config)
    with pytest.raises(ValueError, match="holds a training with other settings"):
        main(replace(config, features_dim=4))
    with pytest.raises(ValueError, match="real_0 holds an agent of other settings"):
        main(replace(config, real_steps=8))


def test_dreams_may_be_more_at_a_time_and_the_players_of_the_game_stay_the_same(
    settings: DreamAgentsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(settings, seeds=1, episodes=2, work=str(tmp_path / "work"), results=str(tmp_path))
    main(config)
    trained = []
    train = dream_agents.train
    monkeypatch.setattr(dream_agents, "train", lambda config: trained.append(config) or train(config))
    player = (tmp_path / "work" / "real_0" / "agent.zip").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "work" / "dream_0")
    main(replace(config, dream_envs=4, dream_horizon=5, guards=GuardConfig(termination_floor=0.5)))
    assert [(run.agent.num_envs, run.horizon) for run in trained] == [(4, 5)]
    assert (tmp_path / "work" / "real_0" / "agent.zip").stat().st_mtime_ns == player


def test_a_critic_that_read_the_recording_is_given_to_some_players_too(
    settings: DreamAgentsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the dreamer, and in the game to those of a row of their own."""
    config = replace(settings, seeds=1, episodes=2, work=str(tmp_path / "work"), results=str(tmp_path))
    main(config)
    player = (tmp_path / "work" / "real_0" / "agent.zip").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "work" / "dream_0")
    fitted = []
    for module in (dream_agents, agents.train):
        fit = module.fit_critic  # type: ignore[attr-defined]
        monkeypatch.setattr(module, "fit_critic", lambda *given, fit=fit: fitted.append(fit(*given)) or fitted[-1])
    critic = CriticConfig(config.dataset, mirror=(0, 2, 1), epochs=1)
    found = main(replace(config, critic=critic, informed=True))
    assert len(fitted) == 2 and fitted[0] == fitted[1] and fitted[0]["frames"] == 2 * 6 * 7  # mirrored
    assert json.loads((tmp_path / "work" / "dream_0" / "critic.json").read_text()) == fitted[0]
    assert (tmp_path / "work" / "real_0" / "agent.zip").stat().st_mtime_ns == player
    text = (tmp_path / "dream_agents.md").read_text()
    assert "| real_informed | 0 |" in text and "value function learned from" in text
    assert found["real_informed_score"] > 2
    assert "real_informed_score" not in main(replace(config, critic=critic))
    with pytest.raises(ValueError, match="informed: expected critic.dataset"):
        main(replace(config, informed=True))


def test_a_quick_look_reads_no_recording_first() -> None:
    assert _settled(DreamAgentsConfig()).critic.dataset is not None
    quick = _settled(DreamAgentsConfig(quick=True, informed=True))
    assert quick.critic.dataset is None and not quick.informed and quick.seeds == 1


def test_the_settings_are_there_for_the_command_line_too() -> None:
    preset = train_config(load("agent_train", ["agent=ppo_take_cover"]))
    assert preset.agent == DreamAgentsConfig().agent


def test_scores_are_summed_up_over_seeds() -> None:
    scores = [Score("random", 0, (1.0,)), Score("dream", 0, (10.0, 20.0)), Score("dream", 1, (30.0, 50.0))]
    found = summary(scores)
    assert found["dream_score"] == 27.5 and found["dream_worst_seed"] == 15 and found["dream_best_seed"] == 40
    low, high = found["dream_score_ci"]
    assert 10 <= low < 27.5 < high <= 50 and "dream_minus_real" not in found
    assert summary([*scores, Score("real", 0, (7.5,))])["dream_minus_real"] == 20


@pytest.mark.parametrize("changes", [{"steps": 0}, {"seeds": 0}, {"episodes": 0}])
def test_sizes_are_checked(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        main(DreamAgentsConfig(**changes))  # type: ignore[arg-type]
