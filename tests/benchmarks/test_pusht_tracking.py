"""The tracker against the simulator's own positions: its error is far below what it is used to measure."""

from __future__ import annotations

import gym_pusht  # noqa: F401  (registers its id)
import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.pusht_tracking import IMAGE_DIAGONAL, position_error, track

# Centre of the T's area in the frame of the block: two rectangles, 120 x 30 and 30 x 90.
AREA_CENTRE = (0.0, (3600 * 15 + 2700 * 75) / 6300)

Recording = tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]


def record(size: int, episodes: int = 12, steps: int = 25) -> Recording:
    """Frames uint8 [n size size 3] and the true positions of agent and block [n 2], in pixels of 64."""
    env = gym.make("gym_pusht/PushT-v0", obs_type="pixels", observation_width=size, observation_height=size)
    rng = np.random.default_rng(0)
    frames, agents, blocks = [], [], []
    for seed in range(episodes):
        frame, _ = env.reset(seed=seed)
        simulator = env.unwrapped
        for step in range(steps):
            centre = np.array(simulator.block.local_to_world(AREA_CENTRE))
            if step % 6 == 0:  # half the targets lie on the block: contact, overlap, turning
                target = centre + rng.normal(0, 50, 2) if rng.random() < 0.5 else rng.uniform(20, 492, 2)
            frames.append(frame)
            agents.append(np.array(simulator.agent.position))
            blocks.append(centre)
            frame, *_ = env.step(np.clip(target, 20, 492).astype(np.float32))
    env.close()
    return np.stack(frames), np.stack(agents) / 8, np.stack(blocks) / 8


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(64)


def test_error_on_real_frames(recording: Recording) -> None:
    frames, agents, blocks = recording
    positions = track(frames)
    agent_error = np.linalg.norm(positions.agent - agents, axis=-1)
    block_error = np.linalg.norm(positions.block - blocks, axis=-1)
    print(f"tracker error, px of 64: agent mean {agent_error.mean():.3f}, block mean {block_error.mean():.3f}")
    assert agent_error.mean() < 0.2 and np.percentile(agent_error, 99) < 0.5
    assert block_error.mean() < 0.3 and np.percentile(block_error, 99) < 0.8


def test_positions_do_not_depend_on_the_size_of_the_frames(recording: Recording) -> None:
    _, agents, blocks = recording
    positions = track(record(96, episodes=2)[0])
    count = len(positions.agent)
    assert np.linalg.norm(positions.agent - agents[:count], axis=-1).mean() < 0.2
    assert np.linalg.norm(positions.block - blocks[:count], axis=-1).mean() < 0.3


def test_decoder_noise_moves_positions_little(recording: Recording) -> None:
    frames = recording[0]
    noise = np.random.default_rng(0).normal(0, 6, frames.shape)
    noisy = np.clip(frames + noise, 0, 255).round().astype(np.uint8)
    clean, moved = track(frames), track(noisy)
    assert np.linalg.norm(clean.agent - moved.agent, axis=-1).mean() < 0.15
    assert np.linalg.norm(clean.block - moved.block, axis=-1).mean() < 0.15


def test_a_shift_by_a_pixel_is_an_error_of_a_pixel(recording: Recording) -> None:
    frames = recording[0]
    inside = frames[:, 2:-2, 2:-2]
    shifted = np.full_like(frames, 255)
    shifted[:, 2:-2, 3:-1] = inside
    still = np.full_like(frames, 255)
    still[:, 2:-2, 2:-2] = inside
    a, b = track(still), track(shifted)
    np.testing.assert_allclose(b.agent - a.agent, [[1.0, 0.0]] * len(frames), atol=1e-6)
    np.testing.assert_allclose(b.block - a.block, [[1.0, 0.0]] * len(frames), atol=1e-6)


def test_a_missing_object_counts_as_the_diagonal(recording: Recording) -> None:
    frames = recording[0][:4]
    recorded, blank = track(frames), track(np.full_like(frames, 255))
    assert np.isnan(blank.agent).all() and np.isnan(blank.block).all()
    np.testing.assert_allclose(position_error(blank.agent, recorded.agent), IMAGE_DIAGONAL)
    assert np.isnan(position_error(recorded.agent, blank.agent)).all()  # nothing to compare with


def test_a_dissolved_frame_has_no_objects() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    positions = track(noise)
    assert np.isnan(positions.agent).all() and np.isnan(positions.block).all()


def test_the_goal_alone_is_no_block() -> None:
    frame = np.full((64, 64, 3), 255, np.uint8)
    frame[20:40, 20:40] = (144, 238, 144)
    assert np.isnan(track(frame).block).all() and np.isnan(track(frame).agent).all()


def test_frames_must_be_uint8() -> None:
    with pytest.raises(ValueError, match="uint8"):
        track(np.zeros((64, 64, 3), np.float32))  # type: ignore[arg-type]
