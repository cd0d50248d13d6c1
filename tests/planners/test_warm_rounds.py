"""Searches that begin where a plan before left off may take fewer rounds and look less far around."""

from __future__ import annotations

import pytest
import torch

from planners import CEM, CEMConfig, ICEMConfig, MPPIConfig, Reward
from tests.planners.conftest import generator
from world_model.model import WorldModel
from world_model.types import WorldState

SETTINGS = {"horizon": 3, "num_candidates": 12, "num_elites": 4, "num_iterations": 4}


def test_only_warm_searches_are_short(model: WorldModel, state: WorldState, target: Reward) -> None:
    planner = CEM(model, target, CEMConfig(**SETTINGS, warm_iterations=2))  # type: ignore[arg-type]
    cold = planner.plan(state, generator())
    assert len(cold.statistics) == 4
    warm = planner.plan(state, generator(), warm_start=cold)
    assert len(warm.statistics) == 2 and bool((warm.cost <= cold.cost).all())
    plain = CEM(model, target, CEMConfig(**SETTINGS))  # type: ignore[arg-type]
    assert len(plain.plan(state, generator(), warm_start=cold).statistics) == 4


def test_warm_searches_look_around_as_far_as_they_are_told(
    model: WorldModel, state: WorldState, target: Reward
) -> None:
    planner = CEM(model, target, CEMConfig(**SETTINGS, initial_std=0.5, warm_std=0.05))  # type: ignore[arg-type]
    cold = planner.plan(state, generator())
    inside = cold.actions.clamp(100, 400)  # else the bounds cut the distribution off
    near, far = (
        one.plan(state, generator(), warm_start=inside).statistics[0].spread
        for one in (planner, CEM(model, target, CEMConfig(**SETTINGS, initial_std=0.5)))  # type: ignore[arg-type]
    )
    assert bool((near < far / 4).all()) and bool((cold.statistics[0].spread > 4 * near).all())
    assert torch.allclose(cold.statistics[0].spread, far, rtol=0.5)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="warm_iterations"):
        MPPIConfig(warm_iterations=0)
    with pytest.raises(ValueError, match="warm_std"):
        ICEMConfig(warm_std=0.0)
