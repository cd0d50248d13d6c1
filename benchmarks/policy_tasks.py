"""The two tasks that policies are evaluated in: what counts, where it begins, and who takes part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.policy_coverage import coverage
from benchmarks.policy_scripted import PUSHT, TAKE_COVER, Maker
from benchmarks.policy_starts import Where
from benchmarks.policy_worlds import Verifier

Split = Literal["train", "validation", "test", "held_out"]

FREE = 0.3
"""Largest coverage of the goal at a start of PushT: a block that lies there already shows nothing of a policy."""


@dataclass(frozen=True)
class PolicyTask:
    """What is evaluated.

    Attributes:
        verifier: "coverage": success once the block covers `threshold` of the goal area at some step; "return": the sum
            of rewards, success from `threshold` on.
        num_starts: how many, by default. PushT's are two or three an episode: with half as many, chance decides whether
            policies of nearly the same skill change places.
        horizon: steps from the start.
        threshold: see above; PushT's is the one at which dream and simulator agreed best on validation starts, with the
            weights that shipped when it was chosen (reports have a table of others), Take Cover's is the 750 tics at
            which the game counts as solved.
        full_step: largest reward of a step, by which returns are divided; 0 where success is the score.
        where: in a recorded episode policies take over.
        split: of the recording that starts are drawn from. Nothing was trained or chosen on Take Cover's, which is of
            beginnings alone, so both held-out parts serve: many are needed, since how long a life lasts there is mostly
            luck.
        scripted: policies by name.
        zero_skill: the policy whose imagined success is false.
        unit: of the scores, for people.
    """

    verifier: Verifier
    num_starts: int
    horizon: int
    threshold: float
    full_step: float
    where: Where
    split: Split
    zero_skill: str
    unit: str
    scripted: Mapping[str, Maker] = field(repr=False)

    def scores(self, values: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        """What policies are compared by: successes (0 or 1) or returns."""
        return (values >= threshold).astype(np.float64) if self.verifier == "coverage" else values

    def full_score(self, horizon: int) -> float:
        """The largest score."""
        return 1.0 if self.verifier == "coverage" else self.full_step * horizon

    def suits(self, frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which frames [n h w 3] may be a start, bool [n]."""
        return coverage(frames) <= FREE if self.verifier == "coverage" else np.ones(len(frames), np.bool_)


TASKS: Mapping[str, PolicyTask] = {
    "pusht": PolicyTask("coverage", 100, 100, 0.4, 0.0, "middle", "test", "random", "success rate", PUSHT),
    "take_cover": PolicyTask(
        "return", 180, 525, 750.0, 4.0, "first", "held_out", "random", "return, tics survived", TAKE_COVER
    ),
}
