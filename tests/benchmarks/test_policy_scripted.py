"""The verifier of PushT and the scripted policies, in the real simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.policy_coverage import GOAL_POSE, block_angle, coverage
from benchmarks.policy_pusht import Arm
from benchmarks.policy_scripted import PUSHT, TAKE_COVER, scripted
from benchmarks.policy_tasks import TASKS
from tests.conftest import PUSHT_ACTIONS
from v2w_env.collect.pusht_block import CENTROID, object_shares, rotation
from v2w_env.collect.simulator import make_simulator
from world_model.types import ActionSpec

KEYS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")


@pytest.fixture(scope="module")
def simulator() -> Any:
    kwargs = {"obs_type": "pixels", "observation_width": 64, "observation_height": 64}
    return make_simulator("gym_pusht/PushT-v0", kwargs).unwrapped


def _placed(simulator: Any, *state: float) -> np.ndarray:
    """The frame with agent x, y and block x, y, angle."""
    simulator.reset(seed=0)
    simulator.agent.position, simulator.agent.velocity = state[:2], (0, 0)
    simulator.block.angle = state[4]
    simulator.block.position = state[2:4]
    simulator.space.reindex_shapes_for_body(simulator.block)
    return simulator.get_obs()


def test_coverage_of_real_frames(simulator: Any) -> None:
    x, y, angle = GOAL_POSE
    frames = [_placed(simulator, 60, 60, x + dx, y, angle) for dx in (0, 15, 40, 150)]
    values = coverage(np.stack([*frames, np.full_like(frames[0], 255)]))
    assert values[0] > 0.95 and 0.5 < values[1] < 0.8 and 0.1 < values[2] < 0.3 and values[3:].tolist() == [0, 0]
    assert coverage(_placed(simulator, 60, 60, x, y, angle + np.pi)[None])[0] < 0.6


@pytest.mark.parametrize("angle", [-2.9, -1.2, 0.1, 0.9, 2.2])
def test_angles_of_real_frames(simulator: Any, angle: float) -> None:
    _, share = object_shares(_placed(simulator, 60, 60, 300, 260, angle))
    pose = simulator._get_info()["block_pose"]
    found = block_angle(share, pose[:2] + rotation(pose[2]) @ CENTROID)
    assert abs((found - pose[2] + np.pi) % (2 * np.pi) - np.pi) < 0.06


def test_the_pusher_is_better_than_noise(simulator: Any) -> None:
    """From a block that lies a little off the goal."""
    reached = {}
    for name in ("pusher", "noise_80"):
        policy = scripted(name, PUSHT[name], PUSHT_ACTIONS, seed=0)
        policy.reset([0])
        frame = _placed(simulator, 120, 330, 190, 300, 0.6)
        values = []
        for _ in range(70):
            frame, *_ = simulator.step(policy.act(frame[None], [0])[0])
            values.append(coverage(frame[None])[0])
        reached[name] = max(values)
    assert reached["pusher"] > 0.8 > reached["noise_80"] + 0.2


def test_the_arm_moves_as_the_simulator_moves_it(simulator: Any) -> None:
    _placed(simulator, 100, 400, 300, 100, 0)
    arm, place = Arm(), np.array([100.0, 400.0])
    for target in ([140.0, 380.0], [200.0, 390.0], [150.0, 300.0]):
        simulator.step(np.array(target))
        place = arm.follow(place, np.array(target))
        assert np.allclose(place, simulator.agent.position, atol=1e-3)


def test_a_pusher_of_blocks_sees_every_fifth_step_and_still_arrives(simulator: Any) -> None:
    policy = scripted("pusher", PUSHT["pusher"], PUSHT_ACTIONS.block(5), seed=0)
    policy.reset([0])
    frame, values, looks = _placed(simulator, 120, 330, 190, 300, 0.6), [], 0
    while looks < 24 and max(values, default=0) < 0.8:
        block = policy.act(frame[None], [0])[0]
        assert block.shape == (5, 2) and block.dtype == np.float32
        for action in block:
            frame, *_ = simulator.step(action)
        values.append(coverage(frame[None])[0])
        looks += 1
    assert values[-1] > 0.8 > values[0] + 0.3
    stays = scripted("hold", PUSHT["hold"], PUSHT_ACTIONS.block(5), seed=0)
    stays.reset([0])
    assert np.ptp(stays.act(frame[None], [0])[0], axis=0).tolist() == [0, 0]


@pytest.mark.parametrize("name", [*PUSHT, *TAKE_COVER])
def test_scripted_policies_give_valid_actions_that_repeat(name: str) -> None:
    makers, spec = (PUSHT, PUSHT_ACTIONS) if name in PUSHT else (TAKE_COVER, KEYS)
    frames = np.random.default_rng(0).integers(0, 255, (6, 2, 64, 64, 3)).astype(np.uint8)
    played = []
    for rows in ([0, 7], [7, 0]):  # whatever else is played beside it
        policy = scripted(name, makers[name], spec, seed=1)
        policy.reset(rows)
        places = [rows.index(0), rows.index(7)]
        both = [frame if rows == [0, 7] else frame[::-1] for frame in frames]
        played.append(np.stack([policy.act(frame, rows)[places] for frame in both]))
    assert np.array_equal(*played)
    low, high = (0, 512) if name in PUSHT else (0, 2)
    assert played[0].min() >= low and played[0].max() <= high and played[0].dtype == np.dtype(spec.dtype)


def test_scripted_policies_refuse_other_worlds() -> None:
    with pytest.raises(ValueError, match="the world model takes discrete"):
        scripted("pusher", PUSHT["pusher"], KEYS, 0)
    assert min(len(task.scripted) + 1 for task in TASKS.values()) >= 12
