"""The controllers of the planning benchmark: each tries to get the real PushT from a task's start to its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.loading import digest
from benchmarks.planning_log import Attempt
from benchmarks.planning_simulator import PushTSimulator, SimulatorMPC
from benchmarks.planning_tasks import ANGLE, BUDGET, DISTANCE, Recording, Task, TaskEnv
from planners import MPC, ActionChange, GoalImage, GoalState, MPCConfig, MPCResult, MPCStep, Objective, make_planner
from world_model.model import WorldModel

if TYPE_CHECKING:
    from benchmarks.planning import PlanningConfig

BLIND = ("hold", "random", "replay")
"""Rows that plan nothing: stay where the agent is, uniformly random actions, the recorded actions."""

ORACLE = "oracle_"

TOLERANCE = (DISTANCE, DISTANCE, DISTANCE, DISTANCE, float(ANGLE))  # of the probe's state: agent, block and its angle


@dataclass(frozen=True, eq=False)
class Setup:
    """What all rows share."""

    model: WorldModel
    tasks: Sequence[Task]
    recordings: Sequence[Recording]
    config: PlanningConfig

    def identity(self, row: str) -> dict[str, Any]:
        """What an attempt of `row` depends on."""
        config, known = self.config, dict[str, Any](row=row, split=self.config.split)
        if row in BLIND:
            return known
        names = (
            "goal_space",
            "goal_blur",
            "goal_doubt",
            "goal_failure",
            "goal_weights",
            "over",
            "action_change",
            "replan_every",
            "context_frames",
            "run_on",
            "shrink_horizon",
        )
        known |= {name: getattr(config, name) for name in names}
        settings = config.settings.get(row.removeprefix(ORACLE), {})
        known["settings"], suggests = settings, bool(settings.get("num_suggested"))
        if not row.startswith(ORACLE):
            known["weights"], known["dtype"] = digest(self.model, suggests), config.dtype
        elif suggests:
            known["weights"] = digest(self.model, suggests)
        return known


def attempt(setup: Setup, row: str, which: Sequence[tuple[int, int]]) -> list[Attempt]:
    """Try tasks, each a pair of its place and a seed."""
    envs = [TaskEnv(setup.tasks[task], setup.recordings[task]) for task, _ in which]
    try:
        if row in BLIND:
            return [_blind(env, row, task, seed) for env, (task, seed) in zip(envs, which, strict=True)]
        return _planned(setup, row, which, envs)
    finally:
        for env in envs:
            env.close()


def _blind(env: TaskEnv, row: str, task: int, seed: int) -> Attempt:
    _, info = env.reset()
    rng = np.random.default_rng((task, seed))
    recorded = env.recording.actions[env.task.start :]
    start = info["pose"][:2]
    for step in range(BUDGET):
        if row == "replay":
            action = recorded[min(step, len(recorded) - 1)]
        else:
            action = start if row == "hold" else rng.uniform(0, 512, 2)
        _, _, _, _, info = env.step(action)
    return Attempt(task, seed, info["reached"], info["block_reached"], info["at_goal"], info["steps"])


def _planned(setup: Setup, row: str, which: Sequence[tuple[int, int]], envs: list[TaskEnv]) -> list[Attempt]:
    config, model = setup.config, setup.model
    block = model.config.action_block
    chosen = [setup.recordings[task] for task, _ in which]
    name = row.removeprefix(ORACLE)
    simulator = PushTSimulator(model.config, model.action_prior) if row.startswith(ORACLE) else None
    world = simulator.as_world_model() if simulator else model
    goals = np.stack([recording.goal_frame for recording in chosen])
    if config.goal_space == "state":  # the oracle knows it, the world model reads it off the goal's image
        known = np.stack([recording.goal for recording in chosen]) if simulator else goals
        objective: Objective = GoalState(
            world,
            known,
            TOLERANCE,
            config.over,
            doubt=config.goal_doubt,
            failure=config.goal_failure,
            weights=config.goal_weights,
        )
    else:
        objective = GoalImage(world, goals, config.goal_space, config.over, blur=config.goal_blur)
    if config.action_change:
        objective = objective + config.action_change * ActionChange()
    chosen_settings = dict(config.settings.get(name, {}))
    method = chosen_settings.pop("method", name)
    planner = make_planner(method, world, objective, chosen_settings)
    settings = MPCConfig(
        BUDGET // block, config.replan_every, config.context_frames, shrink_horizon=config.shrink_horizon
    )
    mpc = SimulatorMPC(planner, settings, simulator, envs) if simulator else MPC(planner, settings)
    generators = [torch.Generator().manual_seed(1000 * task + seed) for task, seed in which]
    starts = [setup.tasks[task].start for task, _ in which]
    history = [
        recording.history(start, config.context_frames, block) for recording, start in zip(chosen, starts, strict=True)
    ]
    result = mpc.run(envs, generators, history=history, until=None if config.run_on else _reached)
    shares = _shares(result)
    return [
        Attempt(
            task,
            seed,
            env.reached,
            env.block_reached,
            env.at_goal,
            env.steps,
            _known(result.predicted_costs[i]),
            _known(result.real_costs[i]),
            float(shares[i]),
            int(np.isfinite(result.plan_costs[i]).sum()),
            round(result.imagined_steps / len(which)),
        )
        for i, (env, (task, seed)) in enumerate(zip(envs, which, strict=True))
    ]


def _reached(step: MPCStep) -> np.ndarray:
    return np.array([info["reached"] for info in step.real.infos])


def _shares(result: MPCResult) -> np.ndarray:
    """Planning seconds of each environment ``[b]``: those planned for together share the time."""
    there = np.isfinite(result.plan_costs)
    return (there * (result.planning_seconds / there.sum(0).clip(1))).sum(1)


def _known(costs: np.ndarray) -> tuple[float, ...]:
    return tuple(float(cost) for cost in costs[np.isfinite(costs)])
