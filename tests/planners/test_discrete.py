"""Searching discrete actions of every kind."""

from __future__ import annotations

import pytest
import torch

from planners import CategoricalCEM, CategoricalCEMConfig, Outcome, RandomShooting, Reward, ShootingConfig
from tests.conftest import ACTION_SPECS
from tests.planners.conftest import generator, make_state, small_model

TARGETS = {"discrete": [3], "multi_discrete": [1, 2, 0], "multi_binary": [1, 0, 0, 1, 1, 0]}


@pytest.mark.parametrize("kind", TARGETS)
def test_the_search_finds_the_best_choice_of_every_step(kind: str) -> None:
    model, target = small_model(ACTION_SPECS[kind]), torch.tensor(TARGETS[kind])

    def right(outcome: Outcome) -> torch.Tensor:
        return (outcome.actions == target).float().mean(-1)

    config = CategoricalCEMConfig(horizon=3, num_candidates=48, num_elites=6, num_iterations=8)
    plan = CategoricalCEM(model, Reward(right), config).plan(make_state(model, 2), generator())
    assert torch.equal(plan.actions.long(), target.expand(2, 3, -1))
    assert plan.actions.dtype == (torch.int64 if model.config.actions.is_integer else torch.float32)
    assert float(plan.statistics[-1].spread.max()) < float(plan.statistics[0].spread.min()) / 2
    native = model.config.actions.to_native(plan.actions)
    assert native.shape == (2, 3, *model.config.actions.shape) and native.dtype == model.config.actions.dtype


@pytest.mark.parametrize("kind", TARGETS)
def test_every_value_is_tried_and_no_other(kind: str) -> None:
    model, seen = small_model(ACTION_SPECS[kind]), []

    def watched(outcome: Outcome) -> torch.Tensor:
        seen.append(outcome.actions)
        return outcome.latents.flatten(3).mean(-1)

    sizes = model.config.actions.nvec or (2,) * model.config.actions.size
    for planner in (
        CategoricalCEM(model, Reward(watched), CategoricalCEMConfig(horizon=1, num_candidates=200, num_iterations=1)),
        RandomShooting(model, Reward(watched), ShootingConfig(horizon=1, num_candidates=200)),
    ):
        seen.clear()
        planner.plan(make_state(model, 1), generator())
        for column, size in enumerate(sizes):
            values, counts = seen[0][0, :, 0, column].unique(return_counts=True)
            assert values.tolist() == list(range(size))
            assert int(counts.min()) > 200 / size / 2


def test_a_warm_start_is_likely_but_not_certain() -> None:
    model, seen = small_model(ACTION_SPECS["discrete"]), []

    def watched(outcome: Outcome) -> torch.Tensor:
        seen.append(outcome.actions)
        return outcome.latents.flatten(3).mean(-1)

    planner = CategoricalCEM(model, Reward(watched), CategoricalCEMConfig(horizon=2, num_candidates=300))
    planner.plan(make_state(model, 1), generator(), warm_start=torch.tensor([[[4], [1]]]))
    first = seen[0][0, :, :, 0]
    assert first[0].tolist() == [4, 1]
    likely = (first == torch.tensor([4, 1])).float().mean(0)
    torch.testing.assert_close(likely, torch.full((2,), 0.6), atol=0.1, rtol=0)
