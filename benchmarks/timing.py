"""Timing that survives a busy machine: both sides of a comparison take turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of each round of two sides that took turns."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Seconds of the second side divided by those of the first, round by round."""
        return [b / a for a, b in zip(self.first, self.second, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def seconds(action: Callable[[], object], repeats: int = 1) -> float:
    """Mean wall time of `repeats` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats


def median_seconds(action: Callable[[], object], rounds: int, repeats: int = 1) -> float:
    """Median over rounds of `seconds`, after one call to warm up."""
    action()
    return statistics.median(seconds(action, repeats) for _ in range(rounds))


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int, repeats: tuple[int, int] = (1, 1)
) -> Comparison:
    """Time two sides in turns, after one call of each to warm up; `repeats` calls per round for each side."""
    first()
    second()
    pairs = [(seconds(first, repeats[0]), seconds(second, repeats[1])) for _ in range(rounds)]
    return Comparison(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
