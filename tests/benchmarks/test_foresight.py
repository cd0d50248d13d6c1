"""Ends that dreams see coming: which moments they start from, what the probabilities mean, and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.foresight import ForesightConfig, foreseen, main, on_recorded, places
from tests.conftest import make_tiny_model
from tests.trainer.outcomes import SIZE, write_outcomes
from world_model.data import read_minari
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.types import ActionSpec

ACTIONS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")
HEAD = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_outcomes(tmp_path_factory.mktemp("data") / "toy", 12, steps=40)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    """Its head gives every step a chance of one in four to be the last."""
    few_layers = {"attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    model = make_tiny_model(ACTIONS, (SIZE, SIZE), model_channels=8, channel_mult=(1,), **few_layers)
    head = RewardHead(HEAD, ACTIONS, model.config.latent_shape)
    with torch.no_grad():
        head.judge.bias[1] = torch.logit(torch.tensor(0.25))
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=HEAD)
    return model


def test_places_lie_before_the_end_or_a_margin_away_from_it(dataset: Path, model: WorldModel) -> None:
    episodes = read_minari(dataset).episodes()
    long_enough = [e for e in episodes if e.terminations[-1] and len(e) >= 4 + 3 - 1]
    assert 0 < len(long_enough) < len(episodes)
    found = places(model, episodes, context=4, longest=3, steps=2, margin=0)
    assert found.frames.shape == (len(long_enough), 4, SIZE, SIZE, 3)
    for row, episode in enumerate(long_enough):
        assert np.array_equal(found.frames[row], episode.frames[-6:-2])
        assert np.array_equal(found.later[row], episode.frames[-2:])
        assert found.actions[row, :, 0].tolist() == episode.actions[-5:].tolist()
    away = places(model, episodes, context=4, longest=3, steps=2, margin=5)
    last = [e for e in long_enough if len(e) >= 4 + 3 + 5 - 1][-1]
    assert np.array_equal(away.frames[-1], last.frames[-11:-7]) and np.array_equal(away.later[-1], last.frames[-7:-5])
    with pytest.raises(ValueError, match="terminated episodes of 99 frames or more"):
        places(model, episodes, context=90, longest=9, steps=1, margin=0)


def test_chances_of_the_last_two_steps_add_up(dataset: Path, model: WorldModel) -> None:
    episodes = read_minari(dataset).episodes()
    for steps, expected in ((1, 0.25), (3, 1 - 0.75**2)):
        found = places(model, episodes, context=4, longest=3, steps=steps, margin=0)
        sampling = model.with_sampling(num_sampling_steps=1)
        assert foreseen(model, found, steps, 2, sampling, seed=0) == pytest.approx(expected, abs=1e-5)
        assert on_recorded(model, found) == pytest.approx(expected, abs=1e-5)


def test_a_report_compares_places_before_ends_with_others(dataset: Path, model: WorldModel, tmp_path: Path) -> None:
    bundle = model.save_pretrained(tmp_path / "bundle")
    config = ForesightConfig(
        checkpoint=str(bundle), dataset=str(dataset), split="train", ahead=(2, 1), draws=1, safe=3,
        num_sampling_steps=1, termination_odds=2.0, results=str(tmp_path / "results"),
    )  # fmt: skip
    measures = main(config)
    odds = 2 * (0.25 / 0.75)
    assert measures["ahead_1"] == measures["safe_1"] == pytest.approx(odds / (1 + odds), abs=1e-4)
    written = (tmp_path / "results" / "foresight.md").read_text()
    assert "| recorded frames |" in written and "odds of an end times 2" in written


def test_mistakes_are_named(dataset: Path, model: WorldModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="draws: expected at least 1, got 0"):
        main(ForesightConfig(draws=0))
    with pytest.raises(ValueError, match=r"ahead: .*got \[0\]"):
        main(ForesightConfig(ahead=(0,)))
    headless = make_tiny_model(ACTIONS, (SIZE, SIZE)).save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match="has no reward head"):
        main(ForesightConfig(checkpoint=str(headless), dataset=str(dataset)))
    bundle = model.save_pretrained(tmp_path / "bundle")
    with pytest.raises(ValueError, match="expected terminated episodes"):
        main(ForesightConfig(checkpoint=str(bundle), dataset=str(dataset), split="train", ahead=(40,)))
