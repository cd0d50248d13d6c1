"""How far a policy's imagined return is above its real one: has it learned the task, or the model's mistakes?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluate import RESAMPLES, Evaluation
from world_model.bundle import Replacing

JSON, MARKDOWN = "exploitation_gap.json", "exploitation_gap.md"


def exploitation_gap(imagined: Evaluation, real: Evaluation) -> dict[str, Any]:
    """Imagined and real return of one policy, and their difference with a 95 % bootstrap interval.

    Returns:
        ``imagined`` and ``real`` (see :meth:`Evaluation.summary`), ``gap`` (imagined minus real mean return),
        ``gap_low``, ``gap_high``, and ``gap_percent`` of the real one's size (``None`` where that is 0).
    """
    rng = np.random.default_rng(0)
    means = [rng.choice(one.returns, (RESAMPLES, len(one.returns))).mean(axis=1) for one in (imagined, real)]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    gap, size = float(imagined.returns.mean() - real.returns.mean()), abs(float(real.returns.mean()))
    return {
        "imagined": imagined.summary(),
        "real": real.summary(),
        "gap": gap,
        "gap_low": float(low),
        "gap_high": float(high),
        "gap_percent": 100 * gap / size if size else None,
    }


def write_report(folder: Path, facts: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    """Write ``exploitation_gap.json`` and ``.md``.

    Args:
        folder: Of the run.
        facts: What all evaluations have in common: ``env``, ``simulator``, ``horizon``, ``reward``...
        entries: Of :func:`exploitation_gap`, each with its training ``step``.
    """
    latest = entries[-1] if entries else None
    with Replacing(folder / JSON) as path:
        path.write_text(json.dumps(facts | {"latest": latest, "evaluations": entries}, indent=1) + "\n")
    with Replacing(folder / MARKDOWN) as path:
        path.write_text(_markdown(facts, entries))


def _markdown(facts: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    lines = ["# Imagined against real return", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += [
        "",
        "Both play the same number of steps at most. Imagined episodes start from recorded frames, real ones where the",
        "simulator resets. The gap is the imagined mean return minus the real one; an interval above 0 says that the",
        "policy does better in the dream than it should. Brackets hold 95 % bootstrap intervals.",
        "",
        "| step | imagined | real | gap | gap in % of real |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for entry in entries:
        sides = [f"{one['mean']:.4g} ({one['ci_low']:.4g} to {one['ci_high']:.4g})" for one in _sides(entry)]
        gap = f"{entry['gap']:+.4g} ({entry['gap_low']:.4g} to {entry['gap_high']:.4g})"
        percent = "" if entry["gap_percent"] is None else f"{entry['gap_percent']:+.0f}"
        lines.append(f"| {entry['step']} | {sides[0]} | {sides[1]} | {gap} | {percent} |")
    return "\n".join(lines) + "\n"


def _sides(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return entry["imagined"], entry["real"]
