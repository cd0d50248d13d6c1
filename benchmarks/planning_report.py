"""What the attempts of all rows amount to, as measures, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.metrics import estimate, estimate_ratio
from benchmarks.planning_log import Attempt
from benchmarks.planning_rows import BLIND, ORACLE

if TYPE_CHECKING:
    from benchmarks.planning import PlanningConfig

TARGETS = (
    report.Target("best_success", "at_least", 0.75, "success of the best planner on the world model"),
    report.Target("best_over_oracle", "at_least", 0.85, "the same divided by that of its oracle"),
    report.Target("hold_success", "at_most", 0.05, "success of doing nothing"),
    report.Target("best_correlation", "at_least", 0.9, "correlation of imagined and real cost, best planner"),
)


def summary(found: Mapping[str, Sequence[Attempt]]) -> dict[str, Any]:
    """Measures of all rows; intervals come from drawing tasks again, with all seeds of a task together."""
    measures: dict[str, Any] = {"tasks": len({one.task for row in found.values() for one in row})}
    for row, attempts in found.items():
        for name in ("reached", "block", "final"):
            key = f"{row}_{'success' if name == 'reached' else name}"
            value = estimate(_by_task(attempts, name), 0)
            measures[key], measures[f"{key}_ci"] = value.mean, [value.low, value.high]
        planned = [one for one in attempts if one.plans]
        if planned:
            measures[f"{row}_correlation"] = correlation(planned)
            measures[f"{row}_seconds_per_plan"] = _total(planned, "planning_seconds") / _total(planned, "plans")
            measures[f"{row}_steps_per_plan"] = _total(planned, "imagined_steps") / _total(planned, "plans")
    most = max(len({one.task for one in attempts}) for attempts in found.values())
    dreamers = [
        row
        for row, attempts in found.items()
        if row not in BLIND and not row.startswith(ORACLE) and len({one.task for one in attempts}) == most
    ]
    if dreamers:
        best = max(dreamers, key=lambda row: measures[f"{row}_success"])
        measures["best"] = best
        for name in ("success", "success_ci", "correlation"):
            measures[f"best_{name}"] = measures[f"{best}_{name}"]
        if ORACLE + best in found:
            ours, theirs = (_by_task(found[row], "reached") for row in (best, ORACLE + best))
            if len(ours) == len(theirs) and theirs.any():
                ratio = estimate_ratio(ours, theirs, 0)
                measures["best_over_oracle"] = ratio.mean
                measures["best_over_oracle_ci"] = [ratio.low, ratio.high]
    return measures


def _table(title: str, measures: Mapping[str, Any], found: Mapping[str, Sequence[Attempt]]) -> report.Table:
    header = [
        "row", "tasks x seeds", "success", "block only", "at the last step", "cost correlation", "s / plan",
        "model steps / plan",
    ]  # fmt: skip
    rows = [
        [
            row,
            f"{len({one.task for one in attempts})} x {len({one.seed for one in attempts})}",
            *(_with_interval(measures, f"{row}_{name}") for name in ("success", "block", "final")),
            report.number(measures.get(f"{row}_correlation")),
            report.number(measures.get(f"{row}_seconds_per_plan")),
            report.number(measures.get(f"{row}_steps_per_plan")),
        ]
        for row, attempts in found.items()
    ]
    return report.Table(title, header, rows)


def correlation(attempts: Sequence[Attempt]) -> float:
    """Pearson's, of imagined and real costs of all steps of executed plans; NaN where there are none."""
    predicted = np.concatenate([one.predicted_costs for one in attempts])
    real = np.concatenate([one.real_costs for one in attempts])
    if len(real) < 2 or not predicted.std() or not real.std():
        return float("nan")
    return float(np.corrcoef(predicted, real)[0, 1])


def write_planning(
    config: PlanningConfig, measures: Mapping[str, Any], found: Mapping[str, Sequence[Attempt]], folder: str
) -> Path:
    """Write planning.json and planning.md (or, of the validation tasks, planning_validation)."""
    split = "validation" if config.quick else config.split
    tables = [report.target_table(measures, TARGETS), _table(f"{measures['tasks']} {split} tasks", measures, found)]
    fewest = min(len({one.task for one in attempts}) for attempts in found.values())
    if fewest < measures["tasks"]:
        first = {row: [one for one in tries if one.task < fewest and one.seed == 0] for row, tries in found.items()}
        tables.append(_table(f"The first {fewest} of them, first seed", summary(first), first))
    notes = (
        "Success: within 50 environment steps, at some step, block within 20 units (of 512) and 20 degrees of the goal "
        "and agent within 20 units. Goals lie 25 steps ahead in a recording in which the block moves. Intervals: 95 %, "
        "from drawing tasks again. Rows that are given fewer tasks or seeds say so. "
        + (
            "Controllers go on after success."
            if config.run_on
            else "Planners stop at success, which then is their last step."
        )
    )
    name = "planning" if split == "test" else f"planning_{split}"
    return report.write(name, config, measures, tables, folder=folder, module="planning", notes=notes)


def _by_task(attempts: Sequence[Attempt], name: str) -> NDArray[np.float64]:
    """Means over seeds, float64 [tasks]."""
    values: dict[int, list[float]] = {}
    for one in attempts:
        values.setdefault(one.task, []).append(float(getattr(one, name)))
    return np.array([np.mean(values[task]) for task in sorted(values)])


def _total(attempts: Sequence[Attempt], name: str) -> float:
    return float(sum(getattr(one, name) for one in attempts))


def _with_interval(measures: Mapping[str, Any], key: str) -> str:
    low, high = measures[f"{key}_ci"]
    return f"{measures[key]:.0%} ({low:.0%} to {high:.0%})"
