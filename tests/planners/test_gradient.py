"""Following gradients through the denoiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from planners import GoalImage, GradientConfig, GradientPlanner, Outcome, Reward
from tests.planners.conftest import generator, make_state
from world_model.model import WorldModel


def test_gradients_through_the_world_model_improve_the_plan(model: WorldModel, goal: np.ndarray) -> None:
    config = GradientConfig(horizon=4, num_candidates=2, num_iterations=8)
    plan = GradientPlanner(model, GoalImage(model, goal), config).plan(make_state(model, 2), generator())
    assert bool((plan.cost < plan.statistics[0].best).all())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not plan.latents.requires_grad and not plan.actions.requires_grad


def test_the_gradient_is_that_of_the_cost(model: WorldModel) -> None:
    """Against differences, for the first action of the only candidate."""
    objective = Reward(lambda outcome: outcome.latents.square().flatten(3).mean(-1))
    planner = GradientPlanner(model, objective, GradientConfig(horizon=2, num_candidates=1, num_iterations=1))
    searches = []
    finish = type(planner)._backward

    def kept(search, points):  # type: ignore[no-untyped-def]
        searches.append((search, points))
        return finish(planner, search, points)

    planner._backward = kept  # type: ignore[method-assign]
    planner.plan(make_state(model, 1), generator())
    search, points = searches[0]
    start = search.start_points("centre")
    step = torch.zeros_like(start)
    step[0, 0, 0, 0] = 1e-2
    difference = (search.costs(start + step) - search.costs(start - step)) / 2e-2
    assert float(points.grad[0, 0, 0, 0]) == pytest.approx(float(difference), rel=0.05, abs=1e-3)


def test_states_without_gradients_are_refused(model: WorldModel) -> None:
    planner = GradientPlanner(model, Reward(lambda o: o.latents.flatten(3).mean(-1)), GradientConfig(horizon=2))
    with torch.inference_mode():
        state = make_state(model, 1)
        with pytest.raises(ValueError, match="made outside inference_mode"):
            planner.plan(state, generator())
    with pytest.raises(ValueError, match="made outside inference_mode"):
        planner.plan(state, generator())


def test_objectives_without_gradients_are_refused(model: WorldModel) -> None:
    def detached(outcome: Outcome) -> torch.Tensor:
        return outcome.latents.detach().flatten(3).mean(-1)

    planner = GradientPlanner(model, Reward(detached), GradientConfig(horizon=2))
    with pytest.raises(ValueError, match="expected one that gradients pass through"):
        planner.plan(make_state(model, 1), generator())


def test_a_bad_gradient_stops_only_its_own_candidate(model: WorldModel) -> None:
    def steep(outcome: Outcome) -> torch.Tensor:
        high = outcome.actions[..., 0].mean(2, keepdim=True) > 256
        actions = outcome.actions[..., 0].clone()
        if actions.requires_grad:
            actions.register_hook(lambda gradient: torch.where(high, torch.nan, gradient))
        return -(actions - 100).square()

    config = GradientConfig(horizon=2, num_candidates=8, num_iterations=10, initial_std=0.6)
    plan = GradientPlanner(model, Reward(steep), config).plan(make_state(model, 1), generator())
    assert bool(plan.actions.isfinite().all()) and float((plan.actions[..., 0] - 100).abs().max()) < 60


def test_planning_works_where_gradients_are_off(model: WorldModel, goal: np.ndarray) -> None:
    planner = GradientPlanner(model, GoalImage(model, goal), GradientConfig(horizon=2, num_iterations=2))
    with torch.no_grad():
        assert bool(planner.plan(make_state(model, 1), generator()).cost.isfinite().all())
