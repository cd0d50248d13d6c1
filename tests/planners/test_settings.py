"""Settings, inputs and names that no planner can work with, and what it says to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from planners import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    CategoricalCEMConfig,
    CEMConfig,
    GradientConfig,
    GradientPlanner,
    ICEMConfig,
    MPPIConfig,
    Planner,
    RandomShooting,
    Reward,
    ShootingConfig,
    make_planner,
)
from planners.choose import PLANNERS
from tests.planners.conftest import generator, generators, make_state, near_target, small_model
from tests.planners.every import CONFIGS, EVERY, make, model_for
from world_model.types import ActionSpec


@pytest.mark.parametrize("config", [c for kind, c in CONFIGS.items() if kind is not GradientPlanner])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 0}, "horizon: expected 1 or more, got 0"),
        ({"action_repeat": 0}, "action_repeat: expected 1 or more"),
        ({"num_candidates": 0}, "num_candidates: expected 1 or more, got 0"),
        ({"num_iterations": 0}, "num_iterations: expected 1 or more"),
        ({"time_limit": 0}, "time_limit: expected a number above 0"),
        ({"memory_gib": -1}, "memory_gib: expected a number above 0"),
        ({"max_change": 0}, "max_change: expected a number above 0"),
        ({"returns": "worst"}, "returns: expected one of 'best', 'mean', got 'worst'"),
    ],
)
def test_impossible_settings_are_refused(config: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (CEMConfig, {"num_elites": 65}, "num_elites: expected at most num_candidates=64, got 65"),
        (CEMConfig, {"num_elites": 0}, "num_elites: expected 1 or more"),
        (CategoricalCEMConfig, {"num_elites": 65}, "num_elites: expected at most num_candidates=64"),
        (CategoricalCEMConfig, {"min_probability": 1.5}, "min_probability: expected 0 to 1"),
        (CEMConfig, {"momentum": 2}, "momentum: expected 0 to 1, got 2"),
        (CEMConfig, {"initial_std": 0}, "initial_std: expected a number above 0"),
        (CEMConfig, {"start": "end"}, "start: expected one of 'centre', 'hold', got 'end'"),
        (ICEMConfig, {"decay": 0.5}, "decay: expected 1 or more"),
        (ICEMConfig, {"noise_exponent": -1}, "noise_exponent: expected 0 or more"),
        (ICEMConfig, {"kept_elites": 2}, "kept_elites: expected 0 to 1"),
        (MPPIConfig, {"temperature": 0}, "temperature: expected a number above 0"),
        (MPPIConfig, {"std": float("nan")}, "std: expected a number above 0, got nan"),
        (ShootingConfig, {"returns": "mean"}, "random shooting has no mean"),
        (GradientConfig, {"learning_rate": 0}, "learning_rate: expected a number above 0"),
        (GradientConfig, {"num_candidates": 0}, "num_candidates: expected 1 or more"),
        (GradientConfig, {"horizon": 0}, "horizon: expected 1 or more"),
    ],
)
def test_settings_that_do_not_fit_each_other(config: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI, GradientPlanner])
def test_discrete_actions_need_another_planner(planner: type[Planner[Any]]) -> None:
    with pytest.raises(ValueError, match="expected a continuous one .Box., got multi_discrete; use CategoricalCEM"):
        planner(model_for(CategoricalCEM), Reward(near_target))
    with pytest.raises(ValueError, match="expected a discrete one, got a Box; use CEM"):
        CategoricalCEM(model_for(CEM), Reward(near_target))


def test_unbounded_actions_need_bounds() -> None:
    infinite = float("inf")
    model = small_model(ActionSpec("box", (2,), (-infinite, -1.0), (infinite, 1.0)))
    with pytest.raises(ValueError, match="action_low: the action space is unbounded, so the planner has to be told"):
        CEM(model, Reward(near_target))
    CEM(model, Reward(near_target), CEMConfig(action_low=-1.0, action_high=1.0))
    for low, high, message in (
        (-2.0, 1.0, "action_low: expected bounds within the action space"),
        ((-1.0,), 1.0, r"action_low: expected a number or one per action column \(2\)"),
        (1.0, (2.0, 1.0), "expected low < high"),
    ):
        with pytest.raises(ValueError, match=message):
            CEM(model, Reward(near_target), CEMConfig(action_low=low, action_high=high))
    for planner in (CategoricalCEM, RandomShooting):
        for name in ("action_low", "action_high", "max_change"):
            with pytest.raises(ValueError, match=f"{name}: only for continuous actions, expected null, got 1"):
                planner(model_for(CategoricalCEM), Reward(near_target), planner.default(**{name: 1}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_probability: expected at most 1/4"):
        make(CategoricalCEM, min_probability=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "state: expected a WorldState, or env.get_state.., got int"),
        ((make_state(make(CategoricalCEM).model, 1),), r"state: expected latents .* is it of another model"),
        ((make_state(model_for(CEM), 2), generators([0])), r"generator: expected .* one per environment \(2\), got 1"),
        ((make_state(model_for(CEM), 2), generator(), torch.zeros(2, 2)), "warm_start: expected actions"),
        ((make_state(model_for(CEM), 2), generator(), torch.zeros(1, 3, 2)), "with b=2, t >= 1, a=2, got .1, 3, 2."),
        ((make_state(model_for(CEM), 2), generator(), torch.zeros(2, 0, 2)), "warm_start"),
        ((make_state(model_for(CEM), 2), generator(), torch.zeros(2, 3, 1)), "warm_start"),
    ],
)
def test_wrong_inputs_are_named(arguments: Sequence[Any], message: str) -> None:
    given = [*arguments, generator()][: max(2, len(arguments))]
    with pytest.raises(ValueError, match=message):
        make(CEM).plan(*given)


def test_wrong_parts_are_named() -> None:
    model = model_for(CEM)
    with pytest.raises(ValueError, match="objective: expected an Objective .* got function; wrap a callable as Reward"):
        CEM(model, near_target)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="config: expected ICEMConfig, got CEMConfig"):
        ICEM(model, Reward(near_target), CEMConfig())  # type: ignore[arg-type]


def test_planners_by_name() -> None:
    model = model_for(CEM)
    made = make_planner("icem", model, Reward(near_target), {"horizon": 3, "action_low": [0, 10], "decay": 2})
    assert isinstance(made, ICEM) and made.config == ICEMConfig(horizon=3, action_low=(0.0, 10.0), decay=2.0)
    with pytest.raises(ValueError, match="unknown planner 'cmc': did you mean 'cem'"):
        make_planner("cmc", model, Reward(near_target))
    with pytest.raises(ValueError, match="unknown key 'cem.horzon'. Did you mean 'cem.horizon'"):
        make_planner("cem", model, Reward(near_target), {"horzon": 3})
    assert set(PLANNERS.values()) == set(EVERY)
