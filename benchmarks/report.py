"""What all benchmarks share: their command line, and the result they leave behind.

A result is a flat dictionary of measures with plain keys. It is printed as one line of JSON, and written as
NAME.json and NAME.md together with what is needed to repeat it: command, commit, settings, machine.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch

RESULTS_FOLDER = "benchmarks/results"
QUICK_FOLDER = "runs/benchmarks"
"""Where `quick` runs write, so that a glance never overwrites a recorded result."""

Measure = float | int | str | None


@dataclass(frozen=True)
class Target:
    """A bound that a measure is held against."""

    key: str
    kind: Literal["at_least", "at_most"]
    value: float
    label: str

    def met(self, measured: float) -> bool:
        """Whether the bound holds (never for NaN)."""
        return measured >= self.value if self.kind == "at_least" else measured <= self.value


@dataclass(frozen=True)
class Table:
    """A titled table of a report; every cell is printed as it is."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def target_table(measures: Mapping[str, Any], targets: Sequence[Target], title: str = "Targets") -> Table:
    """Each target beside what was measured (with its interval `KEY_ci` if there is one) and whether it is met."""
    rows = []
    for target in targets:
        if target.key not in measures:
            continue
        measured, interval = measures[target.key], measures.get(f"{target.key}_ci")
        text = number(measured) + (f" ({number(interval[0])} to {number(interval[1])})" if interval else "")
        sign = ">=" if target.kind == "at_least" else "<="
        rows.append([target.label, text, f"{sign} {target.value:g}", "pass" if target.met(measured) else "FAIL"])
    return Table(title, ["measure", "measured", "target", ""], rows)


def number(value: float | None) -> str:
    """A number for people: about three digits."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.4g}"


def write(
    name: str,
    config: Any,
    measures: Mapping[str, Any],
    tables: Sequence[Table],
    *,
    folder: str,
    module: str = "",
    notes: str = "",
    recorded: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
) -> Path:
    """Write NAME.json and NAME.md into `folder`, print the tables, and print the measures as one last line of JSON.

    Args:
        name: of the result.
        config: the frozen dataclass that the benchmark ran with.
        measures: plain keys to numbers.
        tables: of the Markdown file, printed as well.
        folder: where the files go.
        module: the benchmark's, for the command that repeats it; by default `name`.
        notes: how it was measured, for the Markdown file.
        recorded: what the file holds in place of `measures`, where that is more (curves).
        files: others that the benchmark has written, to be named.

    Returns:
        The path of the JSON file.
    """
    provenance = {
        "command": command(module or name, config),
        "commit": commit(),
        "machine": machine(),
        "config": {key: _portable(value) for key, value in asdict(config).items()},
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    result = {"benchmark": name, **_finite(dict(recorded or measures)), **provenance}
    _replace(target / f"{name}.json", json.dumps(result, indent=2) + "\n")
    body = "\n\n".join(table.markdown() for table in tables)
    head = (
        f"# {name}\n\n    {provenance['command']}\n\n"
        f"Commit {provenance['commit']}. {', '.join(f'{key}: {value}' for key, value in machine().items())}.\n"
    )
    _replace(target / f"{name}.md", f"{head}\n{notes}\n\n{body}\n" if notes else f"{head}\n{body}\n")
    print("\n" + body + "\n")
    print("written:", *(_portable(path) for path in (*files, target / f"{name}.md", target / f"{name}.json")))
    print(json.dumps(_finite(dict(measures))), flush=True)
    return target / f"{name}.json"


def command(name: str, config: Any) -> str:
    """The command line that repeats the run: every setting that differs from its default, paths made relative."""
    changed = {
        key: value
        for f in fields(config)
        if f.name != "quick"
        for key, value in _changed(f.name, getattr(config, f.name), _default(f))
    }
    settings = [f"{key}={_written(value)}" for key, value in changed.items()]
    flags = ["--quick"] if getattr(config, "quick", False) else []
    return " ".join(["python", "-m", f"benchmarks.{name}", *map(shlex.quote, settings + flags)])


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _changed(name: str, value: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """What differs, settings within settings one by one: ``ppo.gamma``."""
    if is_dataclass(value) and type(value) is type(default):
        value, default = ({f.name: getattr(one, f.name) for f in fields(one)} for one in (value, default))
    if isinstance(value, Mapping) and isinstance(default, Mapping) and set(value) == set(default):
        for key in value:
            yield from _changed(f"{name}.{key}", value[key], default[key])
    elif _portable(value) != _portable(default):
        yield name, value


def commit() -> str:
    """Short commit id of the source tree, with `-modified` if files differ from it; `unknown` outside of one."""
    try:
        here = ["git", "-C", str(Path(__file__).parent)]
        # Results are written by the benchmarks themselves: they do not make the code another.
        status = [*here, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results"]
        short = subprocess.run([*here, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return short.stdout.strip() + ("-modified" if changes.stdout.strip() else "")


def machine() -> dict[str, str | int]:
    """What the numbers were measured on: processor, cores, accelerator, versions."""
    description: dict[str, str | int] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        description["accelerator"] = torch.cuda.get_device_name(0)
    return description


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _portable(value: Any) -> Any:
    """Absolute paths relative to the working directory, or only their name when they lie outside of it."""
    if isinstance(value, str | Path) and Path(value).is_absolute():
        path = Path(value)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
    return list(value) if isinstance(value, tuple) else value


def _written(value: Any) -> str:
    """As the command line reads it."""
    value = _portable(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(one)}" for key, one in value.items()) + "}"
    return "null" if value is None else str(value)


def _finite(value: Any) -> Any:
    """JSON has no NaN: it becomes null. Floats keep six digits."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
