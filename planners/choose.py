"""Planners by name, for configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planners.categorical import CategoricalCEM
from planners.cem import CEM
from planners.gradient import GradientPlanner
from planners.icem import ICEM
from planners.mppi import MPPI
from planners.objective import Objective
from planners.planner import Planner
from planners.shooting import RandomShooting
from v2w_env.config import check_names
from world_model.model import SamplingConfig, WorldModel
from world_model.schema import build

PLANNERS: dict[str, type[Planner[Any]]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "shooting": RandomShooting,
    "gradient": GradientPlanner,
    "categorical_cem": CategoricalCEM,
}


def make_planner(
    name: str,
    model: WorldModel,
    objective: Objective,
    settings: Mapping[str, Any] | None = None,
    sampling: SamplingConfig | None = None,
) -> Planner[Any]:
    """The planner called ``name`` (a key of :data:`PLANNERS`), with ``settings`` of its configuration.

    Raises:
        ValueError: an unknown name or setting (names the nearest), or one that does not fit the model's actions.
    """
    check_names("planner", [name], list(PLANNERS))
    planner = PLANNERS[name]
    return planner(model, objective, build(planner.default, settings or {}, f"{name}."), sampling)
