"""Planners that search in an imagined world: CEM, iCEM, MPPI, random shooting, gradient descent, and the MPC loop."""

from planners.categorical import CategoricalCEM, CategoricalCEMConfig
from planners.cem import CEM, CEMConfig
from planners.choose import PLANNERS, make_planner
from planners.goal_image import GoalImage
from planners.goal_state import GoalState
from planners.gradient import GradientConfig, GradientPlanner
from planners.icem import ICEM, ICEMConfig
from planners.mpc import MPC, MPCConfig
from planners.mpc_result import MPCResult, MPCStep
from planners.mppi import MPPI, MPPIConfig
from planners.objective import Objective, Outcome, WeightedSum
from planners.penalties import ActionChange, ActionSize, Constraint
from planners.plan import IterationStats, Plan, WarmStart
from planners.planner import Planner
from planners.reward import EnvReward, PredictedReward, Reward
from planners.search import PlannerConfig
from planners.shooting import RandomShooting, ShootingConfig
from planners.stable_worldmodel import StableWorldModelCost

__all__ = [
    "CEM",
    "ICEM",
    "MPC",
    "MPPI",
    "PLANNERS",
    "ActionChange",
    "ActionSize",
    "CEMConfig",
    "CategoricalCEM",
    "CategoricalCEMConfig",
    "Constraint",
    "EnvReward",
    "GoalImage",
    "GoalState",
    "GradientConfig",
    "GradientPlanner",
    "ICEMConfig",
    "IterationStats",
    "MPCConfig",
    "MPCResult",
    "MPCStep",
    "MPPIConfig",
    "Objective",
    "Outcome",
    "Plan",
    "Planner",
    "PlannerConfig",
    "RandomShooting",
    "PredictedReward",
    "Reward",
    "ShootingConfig",
    "StableWorldModelCost",
    "WarmStart",
    "WeightedSum",
    "make_planner",
]
