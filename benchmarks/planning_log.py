"""What each controller did in each task, a line of JSON per attempt, so that long runs survive being stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.kept_lines import KeptLines


@dataclass(frozen=True)
class Attempt:
    """One task with one seed.

    Attributes:
        task: its place in the list of tasks.
        seed: of the controller.
        reached: whether block and agent were at the goal after some step.
        block: whether the block was.
        final: whether block and agent were there after the last step taken.
        steps: environment steps taken.
        predicted_costs: of the frames that the executed plans imagined.
        real_costs: of the real frames, by the same measure.
        planning_seconds: of all plans, each plan's time shared out among the tasks that were planned for together.
        plans: how many.
        imagined_steps: steps of the world model, all candidates'.
    """

    task: int
    seed: int
    reached: bool
    block: bool
    final: bool
    steps: int
    predicted_costs: tuple[float, ...] = ()
    real_costs: tuple[float, ...] = ()
    planning_seconds: float = 0.0
    plans: int = 0
    imagined_steps: int = 0


class AttemptLog:
    """Attempts of one row, kept in `folder` under a name that says what they depend on.

    Args:
        identity: everything that decides how an attempt goes: the row, its settings, the model.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._lines = KeptLines(folder, f"{identity['row']}-{identity['split']}", identity)
        self.path = self._lines.path
        self._found: dict[tuple[int, int], Attempt] = {}
        for line in self._lines.lines:
            self._remember(Attempt(**line))

    def __contains__(self, key: tuple[int, int]) -> bool:
        """Of a task and a seed."""
        return key in self._found

    def add(self, attempt: Attempt) -> None:
        self._remember(attempt)
        self._lines.add([asdict(attempt)])

    def attempts(self, tasks: int, seeds: int) -> list[Attempt]:
        """Those of the first tasks and seeds."""
        return [self._found[task, seed] for seed in range(seeds) for task in range(tasks)]

    def _remember(self, attempt: Attempt) -> None:
        self._found[attempt.task, attempt.seed] = attempt
