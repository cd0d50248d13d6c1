"""Putting PushT's block where a frame shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from v2w_env.collect.pusht_block import ARENA, nearest_pose, object_shares, settle_pusht
from v2w_env.collect.simulator import make_simulator


@pytest.fixture(scope="module")
def simulator() -> Any:
    kwargs = {"obs_type": "pixels", "observation_width": 64, "observation_height": 64}
    return make_simulator("gym_pusht/PushT-v0", kwargs)


def pose(simulator: Any) -> np.ndarray:
    return np.array([*simulator.unwrapped.block.position, simulator.unwrapped.block.angle])


def moved(simulator: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A start, then the frame of the same with its block elsewhere nearby, and the pose of that."""
    simulator.reset(seed=int(rng.integers(1000)))
    block, start = simulator.unwrapped.block, pose(simulator)
    there = start + np.array([*rng.uniform(-9, 9, 2), rng.uniform(-0.2, 0.2)])
    frames = []
    for x, y, angle in (there, start):
        block.angle = angle
        block.position = (x, y)
        block.space.reindex_shapes_for_body(block)
        frames.append(simulator.unwrapped.get_obs())
    return frames[0], there


def test_the_block_goes_to_where_the_frame_shows_it(simulator: Any) -> None:
    rng = np.random.default_rng(0)
    away, turned, before = [], [], []
    for _ in range(30):
        frame, there = moved(simulator, rng)
        before.append(np.linalg.norm(pose(simulator)[:2] - there[:2]))
        observation, changed = settle_pusht(simulator, frame)
        told = changed["block_pose"]
        assert np.array_equal(observation, simulator.unwrapped.get_obs())
        np.testing.assert_allclose(told, pose(simulator), atol=1e-6)
        away.append(np.linalg.norm(told[:2] - there[:2]))
        turned.append(abs(told[2] - there[2]))
    assert np.mean(before) > 5.0
    assert np.mean(away) < 3.0 and np.mean(turned) < 0.05


def test_the_simulator_goes_on_from_there(simulator: Any) -> None:
    rng = np.random.default_rng(1)
    frame, there = moved(simulator, rng)
    settle_pusht(simulator, frame)
    agent = np.array(simulator.unwrapped.agent.position)
    away = agent + (agent - there[:2]) * 0.1
    _, _, _, _, info = simulator.step(np.clip(away, 0, ARENA).astype(np.float32))
    np.testing.assert_allclose(info["block_pose"][:2], there[:2], atol=8.0)
    assert abs(info["block_pose"][2] - there[2]) < 0.1


def test_a_frame_without_a_block_moves_nothing(simulator: Any) -> None:
    simulator.reset(seed=0)
    before = pose(simulator)
    observation, changed = settle_pusht(simulator, np.full((64, 64, 3), 255, np.uint8))
    assert np.array_equal(observation, simulator.unwrapped.get_obs()) and changed == {}
    assert np.array_equal(before, pose(simulator))


def test_a_block_that_fits_as_well_stays(simulator: Any) -> None:
    simulator.reset(seed=3)
    _, share = object_shares(simulator.unwrapped.get_obs())
    found = nearest_pose(share, pose(simulator))
    assert np.linalg.norm(found[:2] - pose(simulator)[:2]) < 4.0 and abs(found[2] - pose(simulator)[2]) < 0.05
    smeared = np.ones_like(share)  # as good everywhere
    np.testing.assert_allclose(nearest_pose(smeared, pose(simulator)), pose(simulator))
