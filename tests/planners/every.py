"""Every planner, with settings and a world model that tests can afford."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planners import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    CategoricalCEMConfig,
    CEMConfig,
    GoalImage,
    GradientConfig,
    GradientPlanner,
    ICEMConfig,
    MPPIConfig,
    Objective,
    Planner,
    RandomShooting,
    ShootingConfig,
)
from tests.conftest import ACTION_SPECS
from tests.planners.conftest import small_model
from world_model.model import WorldModel

CONFIGS: dict[type[Planner[Any]], Any] = {
    CEM: CEMConfig(horizon=3, num_candidates=12, num_elites=4, num_iterations=3),
    ICEM: ICEMConfig(horizon=3, num_candidates=12, num_elites=4, num_iterations=3),
    MPPI: MPPIConfig(horizon=3, num_candidates=12, num_iterations=3),
    RandomShooting: ShootingConfig(horizon=3, num_candidates=12),
    GradientPlanner: GradientConfig(horizon=3, num_candidates=2, num_iterations=3),
    CategoricalCEM: CategoricalCEMConfig(horizon=3, num_candidates=12, num_elites=4, num_iterations=3),
}
CONTINUOUS = [CEM, ICEM, MPPI, RandomShooting, GradientPlanner]
EVERY = [*CONTINUOUS, CategoricalCEM]

MODELS: dict[str, WorldModel] = {}


def model_for(planner: type[Planner[Any]]) -> WorldModel:
    kind = "multi_discrete" if planner is CategoricalCEM else "box"
    if kind not in MODELS:
        MODELS[kind] = small_model(ACTION_SPECS[kind])
    return MODELS[kind]


def make(planner: type[Planner[Any]], objective: Objective | None = None, **changes: Any) -> Planner[Any]:
    model = model_for(planner)
    objective = objective or GoalImage(model, np.full((8, 8, 3), 90, np.uint8))
    return planner(model, objective, replace(CONFIGS[planner], **changes))
