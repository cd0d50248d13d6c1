"""The report of the reward head's evaluation: targets, tables, and a picture of reliability and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks import report
from benchmarks.report import Table, Target, number
from benchmarks.reward_head_survival import Survival
from world_model.calibration import Bin

matplotlib.use("Agg")

TARGETS = (
    Target("termination_auc", "at_least", 0.95, "AUC of terminations, test episodes"),
    Target("survival_error_hold_1", "at_most", 0.15, "random policy: predicted beside real survival, off by"),
)
_MEASURES = ("termination_auc", "termination_ece", "termination_ratio", "reward_mae")

_NOTES = """{episodes} whole episodes ({steps} steps, {endings} endings) of the {split} split; the interval of the AUC
is over resampled episodes. "Imagined frames" are the world model's predictions one step ahead. `ratio` is the
number of endings that the probabilities add up to over the number there were. Survival: a random policy, each action
held for 1 up to so many steps, in the dream from recorded beginnings and in the real simulator."""


def write_reward_head(
    config: Any,
    measures: Mapping[str, Any],
    bins: Mapping[str, Sequence[Bin]],
    lives: Mapping[int, tuple[Survival, Survival]],
    folder: str,
) -> Path:
    """Write reward_head.json, .md and .png into `folder`. Returns the JSON's path."""
    picture = plot(bins, lives, Path(folder) / "reward_head.png")
    rows = [[key, *(number(measures.get(f"{prefix}{key}")) for prefix in ("", "imagined_"))] for key in _MEASURES]
    tables = [report.target_table(measures, TARGETS), Table("Judgement", ["", "recorded", "imagined frames"], rows)]
    tables += [_reliability(name, entries) for name, entries in bins.items()]
    if lives:
        tables.append(_survival(measures, list(lives)))
    notes = _NOTES.format(split=config.split, **{key: measures[key] for key in ("episodes", "steps", "endings")})
    recorded = dict(measures) | {"reliability": {name: [vars(entry) for entry in es] for name, es in bins.items()}}
    recorded["lives"] = {
        str(hold): {name: life.steps.tolist() for name, life in zip(("dream", "real"), pair, strict=True)}
        for hold, pair in lives.items()
    }
    return report.write(
        "reward_head", config, measures, tables, folder=folder, notes=notes, recorded=recorded, files=[picture]
    )


def plot(bins: Mapping[str, Sequence[Bin]], lives: Mapping[int, tuple[Survival, Survival]], path: Path) -> Path:
    """Left: observed against predicted frequency. Right: the share that is alive against steps. Returns `path`."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, entries in bins.items():
        points = [(entry.predicted, entry.observed, entry.count) for entry in entries]
        predicted, observed, counts = zip(*points, strict=True)
        line = left.plot(predicted, observed, "-", alpha=0.5, label=name)[0]
        left.scatter(predicted, observed, s=10 * np.log1p(counts), color=line.get_color())
    left.plot([0, 1], [0, 1], ":", color="grey")
    left.set(xlabel="predicted probability of an ending", ylabel="share of steps that ended")
    for number_, (hold, pair) in enumerate(lives.items()):
        for life, name, style in zip(pair, ("dream", "real"), ("-", "--"), strict=True):
            steps = np.sort(life.steps)
            alive = 1 - np.arange(1, len(steps) + 1) / len(steps)
            label = f"{name}, held up to {hold}"
            right.step([0, *steps], [1, *alive], style, where="post", color=f"C{number_}", label=label)
    right.set(xlabel="steps", ylabel="share of episodes still going")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _reliability(name: str, entries: Sequence[Bin]) -> Table:
    rows = [
        [f"{entry.low:g} to {entry.high:g}", str(entry.count), f"{entry.predicted:.4f}", f"{entry.observed:.4f}"]
        for entry in entries
    ]
    return Table(f"Reliability, {name}", ["probability of an ending", "steps", "mean prediction", "observed"], rows)


def _survival(measures: Mapping[str, Any], holds: Sequence[int]) -> Table:
    rows = []
    for hold in holds:
        low, high = measures[f"survival_ratio_hold_{hold}_ci"]
        ratio = f"{measures[f'survival_ratio_hold_{hold}']:.3f} ({low:.3f} to {high:.3f})"
        keys = ("dream_steps", "real_steps", "dream_return", "real_return")
        rows.append([f"1 to {hold}", *(number(measures[f"{key}_hold_{hold}"]) for key in keys), ratio])
    header = ["actions held", "steps in the dream", "real", "return in the dream", "real", "steps, dream / real"]
    return Table("Survival of a random policy", header, rows)
