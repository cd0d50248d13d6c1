"""How good predicted probabilities of rare events are: do they rank the cases, and do they mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Finer where rare events are: nearly all steps of an episode are far from its end.
EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """The cases whose predicted probability lies between `low` and `high`.

    Attributes:
        predicted: their mean probability.
        observed: the share of them that happened.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float


def auc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a case that happened scores above one that did not (ties count half).

    NaN if there are no cases of one kind.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.bool_)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    assert len(values) == len(counts)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1, the mean rank among equals
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def reliability(
    probabilities: NDArray[np.floating], labels: NDArray[np.bool_], edges: Sequence[float] = EDGES
) -> list[Bin]:
    """Predicted beside observed frequency, in bins of the predicted probability; empty bins are left out."""
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.bool_)
    where = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, len(edges) - 2)
    bins = []
    for index in np.unique(where):
        chosen = where == index
        predicted, observed = float(probabilities[chosen].mean()), float(labels[chosen].mean())
        bins.append(Bin(float(edges[index]), float(edges[index + 1]), int(chosen.sum()), predicted, observed))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean distance of predicted and observed frequency over all cases."""
    total = sum(entry.count for entry in bins)
    return sum(entry.count * abs(entry.predicted - entry.observed) for entry in bins) / max(1, total)


def outcome_measures(
    rewards: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    true_rewards: NDArray[np.floating],
    terminations: NDArray[np.bool_],
) -> dict[str, float]:
    """Measures of a reward head over `[n]` steps.

    Returns:
        `reward_mae` in the simulator's units, `termination_auc`, `termination_ece`, and `termination_ratio`, the number
        of endings that the probabilities add up to over the number there were (1 is right; below, episodes last too
        long).
    """
    happened = float(np.asarray(terminations, np.bool_).sum())
    return {
        "reward_mae": float(np.abs(np.asarray(rewards, np.float64) - true_rewards).mean()),
        "termination_auc": auc(probabilities, terminations),
        "termination_ece": calibration_error(reliability(probabilities, terminations)),
        "termination_ratio": float(np.sum(probabilities, dtype=np.float64)) / happened if happened else float("nan"),
    }
