"""The reward head's evaluation: a head that knows scores well, survival is counted fairly, and reports are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.reward_head import RewardHeadBenchmarkConfig, main
from benchmarks.reward_head_survival import RandomHold, Starts, Survival, dream_survival, survival_measures
from tests.conftest import make_tiny_model
from tests.trainer.outcomes import SIZE, write_outcomes
from world_model.data import read_minari
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.types import ActionSpec

ACTIONS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")
HEAD = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)


class Coin(gym.Env[np.ndarray, Any]):
    """Ends after each step with a chance of one in four."""

    observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros((SIZE, SIZE, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return np.zeros((SIZE, SIZE, 3), np.uint8), 2.0, bool(self.np_random.random() < 0.25), False, {}


@pytest.fixture(scope="module")
def coin() -> Iterator[str]:
    gym.register("Coin-v0", Coin)
    yield "Coin-v0"
    del gym.registry["Coin-v0"]


def model_with_chance(coin: str, chance: float) -> WorldModel:
    """A model whose head gives every step the same reward, 2, and chance to be the last."""
    few_layers = {"attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    model = make_tiny_model(ACTIONS, (SIZE, SIZE), model_channels=8, channel_mult=(1,), **few_layers)
    head = RewardHead(HEAD, ACTIONS, model.config.latent_shape)
    head.set_statistics(torch.full((3,), 2.0), torch.zeros(3).bool())
    with torch.no_grad():
        head.judge.bias[1] = torch.logit(torch.tensor(chance))
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=HEAD, source_env=coin)
    return model


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_outcomes(tmp_path_factory.mktemp("data") / "toy", 10, steps=12)


def test_survival_in_the_dream_is_what_the_probabilities_say(coin: str, dataset: Path) -> None:
    model = model_with_chance(coin, 0.25)
    starts = Starts.of([e for e in read_minari(dataset).episodes() if len(e) >= 4], 4)
    dream = dream_survival(model, starts, 2, episodes=60, max_steps=40, seed=0, num_envs=20)
    assert len(dream.steps) == 60 and dream.steps.min() >= 4 and dream.steps.max() <= 40
    assert dream.steps.mean() - 3 == pytest.approx(4.0, abs=1.4)  # three steps of context, then 1 / 0.25
    assert dream.returns == pytest.approx(2.0 * (dream.steps - 3) + starts.earned)
    few = [dream_survival(model, starts, 2, episodes=4, max_steps=8, seed=0, num_envs=4).steps for _ in range(2)]
    assert np.array_equal(*few)
    capped = dream_survival(model_with_chance(coin, 0.01), starts, 1, episodes=3, max_steps=6, seed=0, num_envs=3)
    assert capped.steps.max() == 6


def test_a_report_is_written(coin: str, dataset: Path, tmp_path: Path) -> None:
    bundle = model_with_chance(coin, 0.25).save_pretrained(tmp_path / "bundle")
    config = RewardHeadBenchmarkConfig(
        checkpoint=str(bundle), dataset=str(dataset), split="train", holds=(1,), episodes=12, max_steps=20,
        num_envs=6, results=str(tmp_path / "results"),
    )  # fmt: skip
    measures = main(config)
    assert measures["termination_auc"] == pytest.approx(0.5) and measures["imagined_termination_auc"] == pytest.approx(
        0.5
    )
    assert measures["real_steps_hold_1"] == pytest.approx(4.0, abs=2.5) and measures["real_return_hold_1"] > 0
    written = json.loads((tmp_path / "results" / "reward_head.json").read_text())
    assert written["reliability"]["recorded frames"] and len(written["lives"]["1"]["dream"]) == 12
    text = (tmp_path / "results" / "reward_head.md").read_text()
    assert "Survival of a random policy" in text and "FAIL" in text
    assert (tmp_path / "results" / "reward_head.png").stat().st_size > 5000


def test_held_actions_follow_from_the_seed() -> None:
    played = [[int(policy()) for _ in range(40)] for policy in (RandomHold(ACTIONS, 6, (1, 2)) for _ in range(2))]
    assert played[0] == played[1] and set(played[0]) <= {0, 1, 2}
    changes = np.diff(played[0]) != 0
    assert changes.sum() < 20 and RandomHold(ACTIONS, 1, (1, 2))() in (0, 1, 2)


def test_measures_compare_lengths() -> None:
    lives = Survival(np.array([10, 30]), np.array([1.0, 3.0])), Survival(np.array([10, 10]), np.array([4.0, 4.0]))
    found = survival_measures(*lives, hold=3, seed=0)
    assert found["survival_ratio_hold_3"] == 2 and found["survival_error_hold_3"] == 1
    assert found["dream_return_hold_3"] == 2 and found["real_steps_hold_3"] == 10
    low, high = found["survival_ratio_hold_3_ci"]
    assert low == 1 and high == 3


def test_mistakes_are_named(coin: str, dataset: Path, tmp_path: Path) -> None:
    headless = make_tiny_model(ACTIONS, (SIZE, SIZE)).save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match="no reward head; train one with `v2w train train=reward"):
        main(RewardHeadBenchmarkConfig(checkpoint=str(headless), dataset=str(dataset)))
    with pytest.raises(ValueError, match="holds.*at least 1"):
        main(RewardHeadBenchmarkConfig(holds=(0,)))
    other = make_tiny_model(frame_size=(SIZE, SIZE))
    other.reward_head = RewardHead(HEAD, other.config.actions, other.config.latent_shape)
    other.config = replace(other.config, reward_head=HEAD)
    with pytest.raises(ValueError, match="dataset: expected what"):
        main(RewardHeadBenchmarkConfig(checkpoint=str(other.save_pretrained(tmp_path / "b")), dataset=str(dataset)))
