"""The world model's own reward head as what a plan should achieve."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import EnvReward, PredictedReward
from planners.imagination import Imagination
from tests.planners.conftest import make_state, small_model
from v2w_env.rewards import LearnedReward
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig


@pytest.fixture(scope="module")
def judging() -> WorldModel:
    model = small_model()
    config = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)
    torch.manual_seed(0)
    head = RewardHead(config, model.config.actions, model.config.latent_shape)
    head.set_statistics(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    torch.nn.init.normal_(head.judge.weight, std=1.0)
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=config)
    return model


@pytest.fixture
def imagination(judging: WorldModel) -> Imagination:
    return Imagination(judging, make_state(judging, 2), seeds=[0, 1], sampling=None, memory=1e9)


def candidates(n: int = 3, h: int = 4) -> torch.Tensor:
    return 512 * torch.rand(2, n, h, 2, generator=torch.Generator().manual_seed(0))


def test_rewards_count_while_the_episode_is_likely_to_last(judging: WorldModel, imagination: Imagination) -> None:
    with torch.no_grad():
        outcome = imagination.outcome(candidates())
    assert outcome.memories is not None and judging.reward_head is not None
    rewards, ends = judging.reward_head.predict(outcome.memories)
    first, second = rewards[..., 0], rewards[..., 1] * (1 - ends[..., 0])
    third = rewards[..., 2] * (1 - ends[..., 0]) * (1 - ends[..., 1])
    costs = PredictedReward().per_step(outcome)
    torch.testing.assert_close(costs[..., :3], -torch.stack([first, second, third], -1), atol=1e-5, rtol=1e-4)
    # The memory is that of the whole past: the same frames in a state that begins there are judged otherwise.
    alone = PredictedReward().per_step(replace(outcome, memories=None))
    assert (alone - costs).abs().max() > 1e-3


def test_the_environments_own_reward_sees_the_head_too(judging: WorldModel, imagination: Imagination) -> None:
    with torch.no_grad():
        outcome = imagination.outcome(candidates(n=8))
    assert judging.reward_head is not None and outcome.memories is not None
    rewards, ends = judging.reward_head.predict(outcome.memories)
    limit = float(ends.quantile(0.7))
    costs = EnvReward(LearnedReward("threshold", limit), after_the_end=9.0).per_step(outcome)
    over = torch.cat([torch.zeros(2, 8, 1).bool(), (ends > limit).cumsum(-1)[..., :-1] > 0], dim=-1)
    assert over.any() and not over.all()
    torch.testing.assert_close(costs, torch.where(over, torch.tensor(9.0), -rewards), atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_actions(imagination: Imagination) -> None:
    actions = candidates(h=2).requires_grad_()
    PredictedReward(over="discounted")(imagination.outcome(actions)).sum().backward()
    assert actions.grad is not None and actions.grad.abs().sum() > 0


def test_a_model_without_a_head_is_named() -> None:
    model = small_model()
    imagination = Imagination(model, make_state(model, 2), seeds=[0, 1], sampling=None, memory=1e9)
    with pytest.raises(ValueError, match="'tiny' has no reward head"):
        imagination.costs(PredictedReward(), candidates())
    with pytest.raises(ValueError, match="over.*'last'"):
        PredictedReward(over="last")
