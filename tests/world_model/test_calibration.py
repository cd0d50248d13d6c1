"""Measures of predicted probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from world_model.calibration import auc, calibration_error, outcome_measures, reliability


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3  # with many ties
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs))
    assert auc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True])) == 1
    assert math.isnan(auc(scores, np.zeros(60, bool)))


def test_calibrated_probabilities_have_little_error_and_others_more() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000) ** 3
    happened = rng.random(20_000) < probabilities
    bins = reliability(probabilities, happened)
    assert sum(entry.count for entry in bins) == 20_000
    assert all(entry.low <= entry.predicted <= entry.high for entry in bins)
    assert calibration_error(bins) < 0.01
    assert calibration_error(reliability(np.sqrt(probabilities), happened)) > 0.1
    assert calibration_error(reliability(np.array([0.0, 1.0]), np.array([False, True]))) == 0


def test_outcome_measures() -> None:
    found = outcome_measures(np.array([1.0, 2.0]), np.array([0.2, 0.6]), np.array([1.0, 4.0]), np.array([False, True]))
    assert found["reward_mae"] == 1 and found["termination_auc"] == 1
    assert found["termination_ratio"] == pytest.approx(0.8) and found["termination_ece"] == pytest.approx(0.3)
