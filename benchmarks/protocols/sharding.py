"""Sharing the films among processes: each takes every n-th, and says what is its own by what lies on disk.

The processes are started by a launcher such as torchrun, which tells each its number in the environment. They never
talk to each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(
                f"RANK: expected 0 to WORLD_SIZE - 1, got {self.rank} of {self.world}; start with torchrun"
            )

    def own(self, items: Sequence[Item]) -> list[Item]:
        """Every `world`-th item, from number `rank` on."""
        return list(items[self.rank :: self.world])


def this_shard() -> Shard:
    """What RANK and WORLD_SIZE say; alone without them."""
    values = []
    for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")):
        text = os.environ.get(name, default)
        if not text.isdecimal():
            raise ValueError(f"{name}: expected a number in the environment, got {text!r}; start with torchrun")
        values.append(int(text))
    return Shard(*values)


def local_device(device: str) -> str:
    """The accelerator of this process on its machine, where the launcher has started several."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def wait_for(unfinished: Callable[[], Sequence[str]], patience: float, poll: float = 2.0) -> None:
    """Wait until nothing is unfinished.

    Args:
        unfinished: names of what is not there yet.
        patience: seconds without progress after which to give up.
        poll: seconds between two looks.

    Raises:
        TimeoutError: nothing came for that long; names what is missing and how to go on.
    """
    missing, since = list(unfinished()), time.monotonic()
    while missing:
        if time.monotonic() - since > patience:
            raise TimeoutError(
                f"{len(missing)} films of other processes are missing (first: {missing[0]}), and none came for "
                f"{patience / 60:g} minutes. Run the same command again: finished films are kept"
            )
        time.sleep(poll)
        now = list(unfinished())
        if len(now) < len(missing):
            since = time.monotonic()
        missing = now
