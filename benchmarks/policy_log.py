"""How each policy did from each start in each world, a line of JSON per attempt, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        text = json.dumps(identity, sort_keys=True)
        self.path = folder / f"{identity['world']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.jsonl"
        self._found: dict[tuple[str, str], PolicyAttempt] = {}
        if self.path.exists():
            whole, _, torn = self.path.read_text().rpartition("\n")
            for line in whole.splitlines()[1:]:
                self._remember(PolicyAttempt(**json.loads(line)))
            if torn:  # it was being written when the run was stopped: that attempt is made again
                self.path.write_text(whole + "\n")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text + "\n")

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Of a policy and a start."""
        return key in self._found

    def add(self, attempts: Sequence[PolicyAttempt]) -> None:
        with self.path.open("a") as file:
            for attempt in attempts:
                self._remember(attempt)
                file.write(json.dumps(asdict(attempt)) + "\n")

    def values(self, policies: Sequence[str], starts: Sequence[str]) -> NDArray[np.float64]:
        """[policies starts]."""
        return np.array([[self._found[policy, start].value for start in starts] for policy in policies])

    def _remember(self, attempt: PolicyAttempt) -> None:
        self._found[attempt.policy, attempt.start] = attempt
