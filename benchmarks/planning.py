"""Does planning in the dream reach goals in the real PushT?

    python -m benchmarks.planning [checkpoint=FOLDER dataset=FOLDER num_tasks=100 seeds=3 rows=[...] ...]

The protocol is fixed in `benchmarks/planning_tasks.py`, its list of tasks in `benchmarks/tasks`. Rows are controllers:
those that do not plan, the planners on the world model, and each of these on the true simulator (`oracle_...`).
Settings are chosen on `split=validation`; the test tasks are for final numbers. What each row did in each task is kept
in `runs/planning`, so that a killed run goes on where it was; the attempts behind `results/planning.md` lie in
`results/planning_attempts`, and `work=benchmarks/results/planning_attempts` adds seeds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model
from benchmarks.planning_log import Attempt, AttemptLog
from benchmarks.planning_report import summary, write_planning
from benchmarks.planning_rows import BLIND, Setup
from benchmarks.planning_tasks import Split, load_tasks, recordings
from benchmarks.planning_workers import attempts
from planners import PLANNERS
from planners.objective import Over
from v2w_env.config import check_names
from world_model.data import open_dataset
from world_model.progress import progress_bar

_SEARCH = {"horizon": 5, "start": "hold", "warm_iterations": 2}
_CEM = {"num_candidates": 64, "num_iterations": 5, "initial_std": 0.4}
_SETTINGS: dict[str, dict[str, Any]] = {
    # 320 candidates for a first plan (and `prior_shooting` what CEM spends on an average one), but for the gradient
    # planner and the prior alone; where the prior suggests, it does half of the first round.
    "cem": {**_SEARCH, **_CEM},
    "prior_cem": {**_SEARCH, **_CEM, "method": "cem", "num_suggested": 32},
    "prior": {"method": "shooting", "horizon": 5, "num_candidates": 1, "num_suggested": 1},
    "icem": {**_SEARCH, "num_candidates": 94, "num_iterations": 5, "initial_std": 0.4, "noise_exponent": 1.0},
    "mppi": {**_SEARCH, "num_candidates": 64, "num_iterations": 5},
    "shooting": {"horizon": 5, "num_candidates": 320},
    "prior_icem": {
        **_SEARCH, "method": "icem", "num_candidates": 94, "num_iterations": 5, "initial_std": 0.4,
        "noise_exponent": 1.0, "num_suggested": 47,
    },
    "prior_mppi": {
        **_SEARCH, "method": "mppi", "num_candidates": 64, "num_iterations": 5, "num_suggested": 32, "returns": "best",
    },
    "prior_shooting": {"method": "shooting", "horizon": 5, "num_candidates": 140, "num_suggested": 70},
    "gradient": {"horizon": 5, "start": "hold", "num_candidates": 4, "num_iterations": 20},
}  # fmt: skip


@dataclass(frozen=True)
class Fewer:
    """How much of the benchmark a row is given that is not given all of it; null: all.

    Attributes:
        tasks: the first so many.
        seeds: the first so many.
    """

    tasks: int | None = None
    seeds: int | None = None

    def __post_init__(self) -> None:
        for name in ("tasks", "seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"fewer, {name}: expected at least 1, got {value}")


_OTHERS = ("prior_icem", "prior_mppi", "prior_shooting", "gradient")
_FEWER = {row: Fewer(seeds=1) for row in ("prior", "oracle_cem", "cem")} | {row: Fewer(10, 1) for row in _OTHERS}


@dataclass(frozen=True)
class PlanningConfig:
    """Settings of the planning benchmark.

    Attributes:
        checkpoint: a folder, or the name of a model shipped with the package.
        dataset: the recorded PushT that the tasks were drawn from.
        split: of the tasks.
        num_tasks: the first so many tasks of the split.
        seeds: each task is tried with so many seeds of the planner.
        rows: controllers: hold, random, replay, a planner's name, or `oracle_` and a planner's name.
        settings: of each planner, as in `configs/planner`; `method` says which one it is where the row has another
            name. `prior_cem` also tries what the model's action prior suggests, `prior` does it without planning.
        fewer: tasks and seeds of rows that are not given all; the best planner is one that is given all tasks.
        goal_space: what is compared with the goal frame, see `planners.GoalImage`; `state` is what the model's probe
            reads off it, see `planners.GoalState`.
        goal_blur: how far both are blurred first.
        goal_doubt, goal_failure: weights of the probe's doubt, and of the probability to miss the goal by it, where
            states are compared.
        goal_weights: of agent x, y and block x, y, angle there; null: all alike.
        over: which imagined frames should look like the goal.
        action_change: weight of `planners.ActionChange`.
        replan_every: world model steps taken of each plan.
        shrink_horizon: plan no further than the budget.
        run_on: keep going after success until the budget is spent, for the measure `final`.
        tasks_at_once: tasks planned for in one batch; changes the speed, not the result.
        workers: processes that tasks are shared among; changes the speed, not the result.
        work: where attempts are kept.
    """

    checkpoint: str = "pusht_blocks"
    dataset: str = "runs/data/pusht"
    split: Split = "test"
    num_tasks: int = 100
    seeds: int = 3
    rows: tuple[str, ...] = (
        "hold", "random", "replay", "prior", "oracle_cem", "cem", "oracle_prior_cem", "prior_cem", *_OTHERS,
    )  # fmt: skip
    settings: Mapping[str, dict[str, Any]] = field(default_factory=lambda: dict(_SETTINGS))
    fewer: Mapping[str, Fewer] = field(default_factory=lambda: dict(_FEWER))
    goal_space: Literal["latent", "pixels", "state"] = "state"
    goal_blur: tuple[float, ...] = (0.0,)
    goal_doubt: float = 1.0
    goal_failure: float = 0.0
    goal_weights: tuple[float, ...] | None = None
    over: Over = "best"
    action_change: float = 0.0
    replan_every: int = 1
    context_frames: int = 3
    shrink_horizon: bool = True
    run_on: bool = False
    tasks_at_once: int = 4
    workers: int = 1
    dtype: Literal["float32", "bfloat16"] | None = None
    work: str = "runs/planning"
    results: str = report.RESULTS_FOLDER
    quick: bool = False

    def extent(self, row: str) -> tuple[int, int]:
        """Tasks and seeds of a row."""
        fewer = self.fewer.get(row, Fewer())
        seeds = 1 if row in BLIND and row != "random" else self.seeds  # others do the same each time
        return min(self.num_tasks, fewer.tasks or self.num_tasks), min(seeds, fewer.seeds or seeds)


def main(config: PlanningConfig) -> dict[str, Any]:
    """Try all tasks with all rows and write the report.

    Returns:
        The measures: flat; `icem_success`, `icem_success_ci`, `icem_block`, ...

    Raises:
        ValueError: unknown rows or settings, or a dataset that is not the one the tasks were drawn from.
    """
    given, config = config, _settled(config)
    _check_rows(config)
    model = load_model(config.checkpoint, dtype=config.dtype)
    tasks = load_tasks(config.split, config.num_tasks)
    setup = Setup(model, tasks, recordings(open_dataset(config.dataset), tasks), config)
    found: dict[str, list[Attempt]] = {}
    for row in config.rows:
        log = AttemptLog(Path(config.work), setup.identity(row))
        count, seeds = config.extent(row)
        missing = [(task, seed) for seed in range(seeds) for task in range(count) if (task, seed) not in log]
        with progress_bar(missing, row, "task", len(missing)) as bar:
            for done in attempts(setup, row, missing):
                for one in done:
                    log.add(one)
                    bar.update()
        found[row] = log.attempts(count, seeds)
    measures = summary(found)
    write_planning(given, measures, found, config.results)
    return measures


def _check_rows(config: PlanningConfig) -> None:
    planners = {*PLANNERS, *(name for name, settings in config.settings.items() if "method" in settings)}
    check_names("row", config.rows, [*BLIND, *planners, *(f"oracle_{name}" for name in planners)])
    check_names("planner in settings", config.settings, sorted(planners))
    check_names("row in fewer", config.fewer, [*BLIND, *planners, *(f"oracle_{name}" for name in planners)])


def _settled(config: PlanningConfig) -> PlanningConfig:
    for name in ("num_tasks", "seeds", "replan_every", "context_frames", "tasks_at_once", "workers"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if not config.quick:
        return config
    rows = tuple(row for row in config.rows if row not in _OTHERS) or config.rows
    return replace(
        config, num_tasks=min(2, config.num_tasks), seeds=1, rows=rows, results=report.QUICK_FOLDER, split="validation"
    )


if __name__ == "__main__":
    run("planning", PlanningConfig, main)
