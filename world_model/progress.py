"""Progress bars that stay readable in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_IN_A_FILE = 30.0  # between two states of the bar: there all of them stay, on a terminal only the last


def progress_bar(items: Iterable[T], what: str, unit: str, total: int | None = None, show: bool = True) -> tqdm[T]:
    """``items``, with a bar on stderr that says how many of ``total`` have been taken."""
    seconds = 0.1 if sys.stderr.isatty() else SECONDS_IN_A_FILE
    return tqdm(items, what, total, unit=unit, disable=not show, mininterval=seconds, maxinterval=2 * seconds)
