"""The report of the evaluation of policies: measures, tables, and a picture of imagined against real scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.policy_measures import agreement, false_success, score_interval
from benchmarks.policy_tasks import PolicyTask

if TYPE_CHECKING:
    from benchmarks.policy_evaluation import PolicyEvaluationConfig

matplotlib.use("Agg")

Values = NDArray[np.float64]

TARGETS = (
    report.Target("pearson", "at_least", 0.95, "Pearson correlation of imagined and real scores"),
    report.Target("pearson_low", "at_least", 0.85, "its lower bootstrap bound"),
    report.Target("spearman", "at_least", 0.95, "Spearman rank correlation"),
    report.Target("spearman_low", "at_least", 0.85, "its lower bootstrap bound"),
    report.Target("mmrv", "at_most", 0.05, "mean maximum rank violation"),
    report.Target("false_success", "at_most", 0.05, "false success of the zero-skill policy"),
)

_NOTES = """{policies} policies from the same {starts} recorded starts ({split} split) for {horizon} steps, in the dream
and in the real simulator. {counts} The same program reads both. Policies draw the same random numbers in both worlds.

Intervals: 95 %, from drawing the starts again, the same for all policies and both worlds. MMRV as in SIMPLER: for each
policy the largest real difference to one that the dream ranks on the wrong side (strict comparisons), averaged; of
scores divided by the largest possible ({full:g}). False success: attempts of `{zero}` that fail in reality and succeed
in the dream. Bias and calibration error: imagined minus real score, mean and mean size over policies."""


def summary(
    names: Sequence[str], imagined: Values, real: Values, task: PolicyTask, config: PolicyEvaluationConfig
) -> dict[str, Any]:
    """Measures of values [policies starts] in both worlds."""
    assert config.threshold is not None and config.horizon
    dreamt_scores, real_scores = task.scores(imagined, config.threshold), task.scores(real, config.threshold)
    measures: dict[str, Any] = {"task": config.task, "policies": len(names), "starts": imagined.shape[1]}
    measures |= {"horizon": config.horizon, "threshold": config.threshold}
    measures |= agreement(dreamt_scores, real_scores, task.full_score(config.horizon), config.seed)
    for key in ("pearson", "spearman"):
        measures[f"{key}_low"] = measures.get(f"{key}_ci", [float("nan")])[0]
    dreamt, true = imagined >= config.threshold, real >= config.threshold
    zero = list(names).index(str(config.zero_skill))
    measures["false_success"] = false_success(dreamt[zero], true[zero])
    measures["zero_skill_imagined"], measures["zero_skill_real"] = float(dreamt[zero].mean()), float(true[zero].mean())
    measures["false_success_all"] = false_success(dreamt, true)
    measures["missed_success_all"] = false_success(~dreamt, ~true)
    measures["best_real"] = float(real_scores.mean(1).max())
    measures["worst_real"] = float(real_scores.mean(1).min())
    return measures


def write_policies(
    given: PolicyEvaluationConfig,
    config: PolicyEvaluationConfig,
    task: PolicyTask,
    names: Sequence[str],
    imagined: Values,
    real: Values,
    measures: dict[str, Any],
) -> Path:
    """Write policy_evaluation_TASK.json, .md and .png (with `_validation` on those starts). Returns the JSON's path.

    Args:
        given: as the user set it, for the command that repeats the run.
        config: with the task's settings filled in.
    """
    assert config.threshold is not None and config.horizon
    name = f"policy_evaluation_{config.task}" + ("" if config.split == task.split else f"_{config.split}")
    dreamt_scores, real_scores = task.scores(imagined, config.threshold), task.scores(real, config.threshold)
    picture = plot(names, dreamt_scores, real_scores, task.unit, measures, Path(config.results) / f"{name}.png")
    tables = [
        report.target_table(measures, TARGETS),
        _agreement(measures),
        _policies(names, dreamt_scores, real_scores, task),
    ]
    if task.verifier == "coverage":
        tables.append(_thresholds(imagined, real, config.seed))
    counts = (
        f"Success: the block covers at least {config.threshold:.0%} of the goal area at some step."
        if task.verifier == "coverage"
        else f"Score: the return; success, for false success only: at least {config.threshold:g}."
    )
    notes = _NOTES.format(
        policies=len(names),
        starts=imagined.shape[1],
        split=config.split,
        horizon=config.horizon,
        counts=counts,
        full=task.full_score(config.horizon),
        zero=config.zero_skill,
    )
    recorded = measures | {
        "imagined": {one: values.tolist() for one, values in zip(names, imagined, strict=True)},
        "real": {one: values.tolist() for one, values in zip(names, real, strict=True)},
    }
    return report.write(
        name,
        given,
        measures,
        tables,
        folder=config.results,
        module="policy_evaluation",
        notes=notes,
        recorded=recorded,
        files=[picture],
    )


def plot(names: Sequence[str], imagined: Values, real: Values, unit: str, measures: dict[str, Any], path: Path) -> Path:
    """One point per policy, scores [policies starts] with 95 % intervals; the diagonal is a perfect dream."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axis = pyplot.subplots(figsize=(7.5, 6.5), layout="constrained")
    top = max(float(imagined.mean(1).max()), float(real.mean(1).max()), 1e-9)
    if unit == "success rate":
        top = 1.0
    axis.plot([0, top], [0, top], "--", color="grey", linewidth=1)
    for place, name in enumerate(names):
        x, y = imagined[place].mean(), real[place].mean()
        (x_low, x_high), (y_low, y_high) = score_interval(imagined[place]), score_interval(real[place])
        axis.errorbar(
            x,
            y,
            xerr=[[x - x_low], [x_high - x]],
            yerr=[[y - y_low], [y_high - y]],
            fmt="osD^v"[place // 10 % 5],
            color=f"C{place % 10}",
            elinewidth=0.6,
            label=name,
        )
    title = ", ".join(f"{label} {report.number(measures[key])}" for label, key in _TITLE)
    axis.set(xlabel=f"imagined {unit}", ylabel=f"real {unit}", title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


_TITLE = (("Pearson", "pearson"), ("Spearman", "spearman"), ("MMRV", "mmrv"))


def _agreement(measures: dict[str, Any]) -> report.Table:
    labels = {
        "bias": "bias, imagined minus real",
        "calibration_error": "calibration error",
        "slope": "slope of real on imagined scores",
        "intercept": "intercept of the same",
        "zero_skill_imagined": "imagined success of the zero-skill policy",
        "zero_skill_real": "its real success",
        "false_success_all": "imagined success of all attempts that really fail",
        "missed_success_all": "imagined failure of all attempts that really succeed",
    }
    rows = [[label, _with_interval(measures, key)] for key, label in labels.items()]
    return report.Table("Calibration", ["measure", "measured"], rows)


def _policies(names: Sequence[str], imagined: Values, real: Values, task: PolicyTask) -> report.Table:
    rows = []
    for place in np.argsort(-real.mean(1), kind="stable"):
        cells = []
        for scores in (imagined[place], real[place]):
            low, high = score_interval(scores)
            cells.append(f"{report.number(float(scores.mean()))} ({report.number(low)} to {report.number(high)})")
        gap = float(imagined[place].mean() - real[place].mean())
        rows.append([names[place], *cells, report.number(gap)])
    return report.Table(f"Policies, {task.unit}", ["policy", "imagined", "real", "difference"], rows)


def _thresholds(imagined: Values, real: Values, seed: int) -> report.Table:
    """The same attempts judged more and less strictly, so that the threshold can be seen not to matter much."""
    rows = []
    for threshold in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9):
        dreamt, true = (imagined >= threshold).astype(np.float64), (real >= threshold).astype(np.float64)
        found = agreement(dreamt, true, seed=seed)
        keys = ("pearson", "spearman", "mmrv", "bias")
        best = report.number(float(true.mean(1).max()))
        rows.append([f"{threshold:.0%}", best, *(report.number(found[key]) for key in keys)])
    found = agreement(imagined, real, seed=seed)
    keys = ("pearson", "spearman", "mmrv", "bias")
    best = report.number(float(real.mean(1).max()))
    rows.append(["mean coverage", best, *(report.number(found[key]) for key in keys)])
    return report.Table("Other thresholds", ["success from", "best real", "Pearson", "Spearman", "MMRV", "bias"], rows)


def _with_interval(measures: dict[str, Any], key: str) -> str:
    text, interval = report.number(measures[key]), measures.get(f"{key}_ci")
    return text + (f" ({report.number(interval[0])} to {report.number(interval[1])})" if interval else "")
