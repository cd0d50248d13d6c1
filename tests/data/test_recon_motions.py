"""RECON's actions are computed from poses."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.data.recon import motions


def test_a_motion_is_what_the_robot_sees_of_it() -> None:
    rng = np.random.default_rng(0)
    position, yaw = rng.normal(size=(9, 2)), rng.uniform(-10, 10, 9)
    actions = motions(position, yaw)
    assert actions.shape == (8, 3) and actions.dtype == np.float32
    for j, action in enumerate(actions):
        rotation = np.array([[np.cos(yaw[j]), -np.sin(yaw[j])], [np.sin(yaw[j]), np.cos(yaw[j])]])
        forward, sideways = (position[j + 1] - position[j]) @ rotation / 0.25
        wanted = [(forward + 2.5) / 7.5 * 2 - 1, (sideways + 4) / 8 * 2 - 1]
        assert action[:2] == pytest.approx(wanted, abs=1e-5)
        turned = yaw[j] + float(action[2]) - yaw[j + 1]
        assert np.cos(turned) == pytest.approx(1, abs=1e-6) and -np.pi <= action[2] < np.pi + 1e-6


def test_driving_ahead_standing_and_turning() -> None:
    east_then_left = motions(np.array([[0, 0], [1.25, 0], [1.25, 1.0]]), np.array([0.0, 0.0, 0.0]))
    assert east_then_left[0] == pytest.approx([1, 0, 0], abs=1e-6)  # five quarters of a metre are the most
    assert east_then_left[1] == pytest.approx([-1 / 3, 1, 0], abs=1e-6)  # four to the left likewise
    north = motions(np.array([[0, 0], [0, 1.25]]), np.array([np.pi / 2, np.pi / 2]))
    assert north[0] == pytest.approx([1, 0, 0], abs=1e-6)
    still = motions(np.zeros((2, 2)), np.array([3.0, -3.0]))
    assert still[0] == pytest.approx([-1 / 3, 0, 2 * np.pi - 6], abs=1e-6)  # the short way round


def test_half_a_turn_has_one_sign() -> None:
    assert motions(np.zeros((2, 2)), np.array([0.0, np.pi]))[0, 2] == pytest.approx(-np.pi)
