"""How each policy did from each start in each world, a line of JSON per attempt, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept_lines import KeptLines


@dataclass(frozen=True)
class PolicyAttempt:
    """One policy from one start in one world.

    Attributes:
        policy: its name.
        start: the start's `digest`.
        value: what the verifier read: the largest coverage, or the return.
        steps: taken.
    """

    policy: str
    start: str
    value: float
    steps: int


class PolicyLog:
    """Attempts in one world, kept in `folder` under a name that says what they depend on.

    Args:
        identity: what decides how all attempts go: world, weights, horizon, seed.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._lines = KeptLines(folder, str(identity["world"]), identity)
        self.path = self._lines.path
        self._found: dict[tuple[str, str], PolicyAttempt] = {}
        for line in self._lines.lines:
            self._remember(PolicyAttempt(**line))

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Of a policy and a start."""
        return key in self._found

    def add(self, attempts: Sequence[PolicyAttempt]) -> None:
        for attempt in attempts:
            self._remember(attempt)
        self._lines.add(asdict(attempt) for attempt in attempts)

    def values(self, policies: Sequence[str], starts: Sequence[str]) -> NDArray[np.float64]:
        """[policies starts]."""
        return np.array([[self._found[policy, start].value for start in starts] for policy in policies])

    def _remember(self, attempt: PolicyAttempt) -> None:
        self._found[attempt.policy, attempt.start] = attempt
