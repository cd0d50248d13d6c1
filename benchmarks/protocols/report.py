"""The report of a run, as JSON and Markdown: what was measured, and the paper's numbers beside it, marked as quoted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.protocols.quoted import DELTAS, QUOTES, Quote
from benchmarks.protocols.run_folder import write_json
from benchmarks.report import Table, number
from benchmarks.summary import Summary

PAPER = "arXiv 2505.14357"
_LABELS = {
    "fvd": "FVD, less is better",
    "fid": "FID, less",
    "ssim": "SSIM, more",
    "lpips": "LPIPS, less",
    "psnr": "PSNR in dB, more",
    "dreamsim": "DreamSim, less",
    "mse": "MSE, less",
    "sharpness": "sharpness, 1 is the context's",
    "motion": "motion, grey levels",
}
_ROWS = 20  # of a table over frames


def result_table(measures: Mapping[str, Any], quotes: Sequence[Quote], title: str, prefix: str = "") -> Table:
    """This run, with intervals, above the paper's rows."""
    keys = [key for key in _LABELS if f"{prefix}{key}" in measures or any(key in quote.values for quote in quotes)]
    mine = [_with_interval(measures, f"{prefix}{key}") for key in keys]
    rows = [["**this run**", *mine]]
    rows += [
        [
            f"{quote.model} (quoted, {PAPER}, {quote.source})",
            *(f"{quote.values[key]:g}" if key in quote.values else "-" for key in keys),
        ]
        for quote in quotes
    ]
    return Table(title, ["model", *(_LABELS[key] for key in keys)], rows)


def frame_table(summary: Summary) -> Table:
    """The measures at each compared frame, or at some of them where they are many."""
    places = np.unique(np.linspace(0, len(summary.frames) - 1, min(_ROWS, len(summary.frames))).round().astype(int))
    keys = [key for key in _LABELS if key in summary.curves]
    each = [key for key in ("fid",) if f"{key}_frame_{summary.frames[0]}" in summary.measures]
    rows = []
    for place in places:
        row = [str(summary.frames[place])]
        for key in keys:
            curve = summary.curves[key]
            row.append(
                f"{number(curve['mean'][place])} ({number(curve['low'][place])} to {number(curve['high'][place])})"
            )
        row += [number(summary.measures[f"{key}_frame_{summary.frames[place]}"]) for key in each]
        rows.append(row)
    return Table("At each frame", ["frame", *(_LABELS[key] for key in (*keys, *each))], rows)


def tables(name: str, summary: Summary, measures: Mapping[str, Any]) -> list[Table]:
    """All tables of a run that is compared with recorded films."""
    quotes = QUOTES.get(name, ())
    found = [result_table(measures, quotes, "Measured" + (", and the paper's numbers" if quotes else ""))]
    if any(key.startswith("delta_") for key in measures):
        title = "Recorded against random actions: normalised delta metrics, %"
        found.append(result_table(measures, DELTAS.get(name, ()), title, prefix="delta_"))
    return [*found, frame_table(summary)]


def quoted(name: str) -> list[dict[str, Any]]:
    """The paper's numbers for the JSON file."""
    return [
        {"model": quote.model, "quoted_from": f"{PAPER}, {quote.source}", **quote.values}
        for quote in (*QUOTES.get(name, ()), *DELTAS.get(name, ()))
    ]


def write_report(
    name: str,
    config: Any,
    measures: Mapping[str, Any],
    body: Sequence[Table],
    *,
    folder: Path,
    notes: str,
    details: Mapping[str, Any],
    files: Sequence[Path] = (),
) -> Path:
    """Write NAME.json and NAME.md, print the tables, and the measures as one last line of JSON.

    Args:
        measures: flat, with plain keys.
        details: what else the JSON file holds.
        files: others that were written, to be named.
    """
    provenance = {
        "command": report.command(name, config),
        "commit": report.commit(),
        "machine": report.machine(),
        "config": {key: _portable(value) for key, value in asdict(config).items()},
    }
    path = write_json(folder / f"{name}.json", {"benchmark": name, **measures, **details, **provenance})
    text = "\n\n".join(table.markdown() for table in body)
    machine = ", ".join(f"{key}: {value}" for key, value in report.machine().items())
    page = (
        f"# {name}\n\n    {provenance['command']}\n\nCommit {provenance['commit']}. {machine}.\n\n{notes}\n\n{text}\n"
    )
    written = path.with_suffix(".md")
    temporary = written.with_name(f".{written.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, written)
    print("\n" + text + "\n")
    print("written:", *(_portable(file) for file in (*files, written, path)))
    flat = json.loads(path.read_text(encoding="utf-8"))
    print(json.dumps({key: flat[key] for key in measures}), flush=True)
    return path


def _with_interval(measures: Mapping[str, Any], key: str) -> str:
    if key not in measures:
        return "not measured"
    interval = measures.get(f"{key}_ci")
    text = number(measures[key])
    return f"{text} ({number(interval[0])} to {number(interval[1])})" if interval else text


def _portable(value: Any) -> Any:
    """Absolute paths relative to the working directory, or their last part alone."""
    if isinstance(value, str | Path) and Path(value).is_absolute():
        path = Path(value)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
    return value
