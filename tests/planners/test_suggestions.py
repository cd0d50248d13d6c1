"""Actions that an objective suggests, as goals of states do for world models with an action prior."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import CEM, ActionChange, CEMConfig, GoalState, RandomShooting, Reward, ShootingConfig
from tests.planners.conftest import TARGET, generator, generators, make_state, near_target, small_model
from world_model.action_prior import ActionPriorConfig
from world_model.model import WorldModel
from world_model.state_probe import StateProbeConfig
from world_model.types import ActionSpec, Generators, WorldState

PROBE = StateProbeConfig(("place", "angle"), (2, 1), angles=(2,), channels=8, features=16)
GOALS = np.array([[3.0, 1.0, 0.5], [-2.0, 4.0, 2.0]], np.float32)


def suggesting(block: int = 1) -> WorldModel:
    actions = small_model().config.actions.block(block)
    config = small_model(actions).config
    prior = ActionPriorConfig(horizon=2, features=16, layers=1, sampling_steps=2)
    torch.manual_seed(0)
    model = WorldModel(replace(config, action_block=block, state_probe=PROBE, action_prior=prior))
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def knowing() -> WorldModel:
    return suggesting()


class Hint(Reward):
    """Suggests what is best."""

    def __init__(self) -> None:
        super().__init__(near_target)
        self.asked: list[tuple[int, int]] = []

    def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
        self.asked.append((horizon, count))
        return TARGET.expand(state.batch_size, count, horizon, 2)


def test_planners_try_what_is_suggested(model: WorldModel, state: WorldState) -> None:
    hint = Hint()
    settings: dict[str, Any] = {"horizon": 3, "num_candidates": 12, "num_elites": 4, "num_iterations": 2}
    blind = CEM(model, hint, CEMConfig(**settings)).plan(state, generator())
    assert not hint.asked
    plan = CEM(model, hint, CEMConfig(**settings, num_suggested=3)).plan(state, generator())
    assert hint.asked == [(3, 3)]  # in the first round only
    torch.testing.assert_close(plan.actions, TARGET.expand(2, 3, 2), rtol=0, atol=1e-3)
    assert bool((blind.cost > plan.cost + 1e-3).all())
    alone = RandomShooting(model, hint, ShootingConfig(horizon=3, num_candidates=1, num_suggested=1))
    torch.testing.assert_close(alone.plan(state, generator()).actions, plan.actions, rtol=0, atol=1e-3)
    held = CEM(model, hint, CEMConfig(**settings, num_suggested=3, action_repeat=2)).plan(state, generator())
    torch.testing.assert_close(held.actions, plan.actions, rtol=0, atol=1e-3)


def test_a_plan_before_keeps_its_place(model: WorldModel, state: WorldState) -> None:
    """Of the warm start and twelve suggestions for twelve places the warm start is tried."""
    settings: dict[str, Any] = {"horizon": 3, "num_candidates": 12, "num_elites": 4, "num_iterations": 1}

    class Bad(Hint):
        def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
            return torch.zeros(state.batch_size, count, horizon, 2)

    plan = CEM(model, Bad(), CEMConfig(**settings, num_suggested=12))
    found = plan.plan(state, generator(), warm_start=TARGET.expand(2, 3, 2))
    torch.testing.assert_close(found.actions, TARGET.expand(2, 3, 2), rtol=0, atol=1e-3)


def test_goals_suggest_what_the_prior_draws(knowing: WorldModel) -> None:
    state, objective = make_state(knowing, 2), GoalState(knowing, GOALS)
    suggested = objective.suggest(state, 4, 5, generators([1, 2]))
    assert suggested is not None and suggested.shape == (2, 5, 4, 2)
    assert suggested.min() >= 0 and suggested.max() <= 512 and suggested.std() > 1
    assert torch.equal(suggested[:, :, 2], suggested[:, :, 1])  # held where the prior does not reach
    alone = objective.select([1]).suggest(state.select([1]), 4, 5, generators([2]))
    torch.testing.assert_close(alone, suggested[1:], rtol=0, atol=1e-2)
    short = objective.suggest(state, 1, 5, generators([1, 2]))
    assert short is not None and short.shape == (2, 5, 1, 2)
    shared = GoalState(knowing, GOALS[0]).suggest(state, 4, 5, generators([1, 2]))
    assert shared is not None
    torch.testing.assert_close(shared[0], suggested[0], rtol=0, atol=1e-2)
    assert not torch.allclose(shared[1], suggested[1])
    both = (objective + 0.1 * ActionChange()).suggest(state, 4, 5, generators([1, 2]))
    torch.testing.assert_close(both, suggested)
    assert (0.1 * ActionChange()).suggest(state, 4, 5, generator()) is None


def test_blocks_lead_to_their_last_action() -> None:
    model = suggesting(block=5)
    state, objective = make_state(model, 1), GoalState(model, GOALS[0])
    suggested = objective.suggest(state, 2, 1, generator(3))
    assert suggested is not None and suggested.shape == (1, 1, 2, 10)
    settings = ShootingConfig(horizon=2, num_candidates=1, num_suggested=1)
    # a plan draws a seed for the imagined noise first, so the same generator suggests something else in it
    glide = RandomShooting(model, objective, settings).plan(state, generator(3)).actions[0].unflatten(-1, (5, 2))
    ends = glide[:, -1]
    start = state.action[0, -2:]
    torch.testing.assert_close(glide[0, 0], start + (ends[0] - start) / 5, rtol=0, atol=1e-2)
    free = replace(settings, within_block="free")
    hold = RandomShooting(model, objective, free).plan(state, generator(3)).actions[0].unflatten(-1, (5, 2))
    torch.testing.assert_close(hold, ends[:, None].expand(-1, 5, -1), rtol=0, atol=1e-2)


def test_an_environments_plan_does_not_depend_on_the_others(knowing: WorldModel) -> None:
    state, objective = make_state(knowing, 2), GoalState(knowing, GOALS)
    config = CEMConfig(horizon=2, num_candidates=8, num_elites=2, num_iterations=2, num_suggested=4)
    before = state.latent.clone()
    both = CEM(knowing, objective, config).plan(state, generators([1, 2]))
    one = CEM(knowing, objective.select([1]), config).plan(state.select([1]), generators([2]))
    torch.testing.assert_close(one.actions[0], both.actions[1], rtol=0, atol=0.05)
    assert torch.equal(state.latent, before)


def test_who_knows_of_nothing_says_so(model: WorldModel, state: WorldState, target: Reward) -> None:
    with pytest.raises(ValueError, match="num_suggested: the objective suggests no actions"):
        CEM(model, target, CEMConfig(num_suggested=1)).plan(state, generator())
    for wrong in (-1, 65):
        with pytest.raises(ValueError, match="num_suggested: expected 0 to 64"):
            CEMConfig(num_suggested=wrong)


def test_discrete_searches_take_suggestions_too() -> None:
    model = small_model(ActionSpec("discrete", (), nvec=(3,)))

    class Two(Reward):
        def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
            return torch.full((state.batch_size, count, horizon, 1), 2)

    def twos(outcome: Any) -> Tensor:
        return (outcome.actions == 2).float().mean(-1)

    settings = ShootingConfig(horizon=8, num_candidates=3, num_suggested=2)
    plan = RandomShooting(model, Two(twos), settings).plan(make_state(model, 1), generator())
    assert plan.actions.flatten().tolist() == [2] * 8
