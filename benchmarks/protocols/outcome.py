"""What a finished run amounts to: its films' scores are read back, summed up and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.film_files import read_film
from benchmarks.protocols import report
from benchmarks.protocols.clips import FilmTask
from benchmarks.protocols.quoted import QUOTES
from benchmarks.protocols.response import action_response, response_table, write_sheet
from benchmarks.protocols.run import Run
from benchmarks.protocols.run_folder import IMAGINED, RANDOM
from benchmarks.summary import Uncertainty, deltas, summarise

SHOWN = 6
"""Films on the sheet."""


def report_run(run: Run, tasks: Sequence[FilmTask], config: Any, uncertainty: Uncertainty) -> dict[str, Any]:
    """Write NAME.json and NAME.md of a run whose films are all finished, and a sheet where nothing was compared.

    Args:
        config: the dataclass that the benchmark was called with.

    Returns:
        The measures: flat, with plain keys.
    """
    protocol, folder = run.protocol, run.folder
    kept = [folder.load(task.name) for task in tasks]
    imagined = [scores[IMAGINED] for scores in kept]
    summary = summarise(imagined, uncertainty)
    measures: dict[str, Any] = dict(summary.measures)
    details: dict[str, Any] = {
        "frames": summary.frames,
        "curves": summary.curves,
        "quoted": report.quoted(protocol.name),
    }
    if run.random_actions:
        random = [scores[RANDOM] for scores in kept]
        measures |= deltas(imagined, random, uncertainty)
        measures |= {f"random_{key}": value for key, value in summarise(random, uncertainty).measures.items()}
    body, files = report.tables(protocol.name, summary, measures), []
    if protocol.actions != "recorded":
        films = {task.direction or task.name: read_film(folder.files(task.name).imagined) for task in tasks[:SHOWN]}
        files.append(write_sheet(films, folder.folder / f"{protocol.name}.png"))
        if protocol.actions == "directions":
            response = action_response(films, run.view)
            frames = [frame for frame in (1, 5, 10) if frame < protocol.length - 1] + [protocol.length - 1]
            details["response"] = response
            measures |= {f"response_{key}": float(curve[-1]) for key, curve in response.items()}
            body.insert(0, response_table(response, frames))
    report.write_report(
        protocol.name,
        config,
        measures,
        body,
        folder=folder.folder,
        notes=_notes(run),
        details=details,
        files=files,
    )
    return measures


def _notes(run: Run) -> str:
    protocol, view = run.protocol, run.view
    lines = [
        f"{protocol.about[0].upper()}{protocol.about[1:]}. {protocol.context_frames} context frames, "
        f"{protocol.horizon} imagined ones. Means over clips with 95 % bootstrap intervals; frames are counted from 1."
    ]
    if protocol.actions == "recorded":
        where = "the frames as imagined" if run.measured_on == "frames" else "the films read back from disk (lossy)"
        fitted = [f"cropped to {view.crop}"] * bool(view.crop) + [f"resized to {view.size}"] * bool(view.size)
        lines.append(
            f"Measured on {', '.join([where, *fitted])}. LPIPS with {protocol.lpips_net}. MSE for black 0 and white 1."
        )
    else:
        lines.append("There is no recorded film to compare with.")
    if protocol.name not in QUOTES:
        lines.append("The paper gives no numbers for this set-up.")
    if run.dataset.format != protocol.dataset:
        lines.append(f"On {run.dataset.format} recordings, not on those of the paper ({protocol.dataset}).")
    if run.manner.sampling is not None:
        lines.append(f"Sampling: {asdict(run.manner.sampling)}.")
    return "\n".join(lines)
