"""What keeps agents from living off the world model's mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.dream import GuardConfig, load_dream
from v2w_env.rewards import LearnedReward


def test_guards_reach_the_dream(ids: dict[str, str]) -> None:
    dream = load_dream(ids["box"], {}, horizon=3)
    states = []
    for guards in (GuardConfig(), GuardConfig(), GuardConfig(history_noise_level=200), GuardConfig(temperature=2.0)):
        env = dream.make(1, guards=guards)
        env.reset(seed=0)
        env.step(np.zeros((1, 2)))
        env.step(np.zeros((1, 2)))
        states.append(env.get_state().world.latent)
        assert env.step(np.zeros((1, 2)))[3].all(), "the horizon"
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2]) and not torch.equal(states[0], states[3])
    with pytest.raises(ValueError, match="eta: expected 0..1, got 2"):
        GuardConfig(eta=2)
    with pytest.raises(ValueError, match="temperature: expected a number above 0, got -1"):
        GuardConfig(temperature=-1)
    with pytest.raises(ValueError, match="floor: expected a probability"):
        GuardConfig(termination_floor=-0.1)
    guarded = GuardConfig(termination_floor=0.2).reward(LearnedReward("threshold", 0.7))
    assert isinstance(guarded, LearnedReward) and guarded.floor == 0.2
    assert (guarded.termination, guarded.threshold) == ("threshold", 0.7)
    with pytest.raises(ValueError, match="only reward='learned' has one, this is FunctionReward"):
        dream.make(1, guards=GuardConfig(termination_floor=0.1))
    with pytest.raises(ValueError, match="observation_noise"):
        GuardConfig(observation_noise=-1)
