"""Which clips an evaluation sees."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clips import draw_clips
from world_model.data.episode import Episode
from world_model.types import ActionSpec

SPEC = ActionSpec("box", shape=(2,), low=(0.0, 0.0), high=(1.0, 1.0))


def episode(id: int, steps: int) -> Episode:
    """Frame t is filled with t, action t is (id, t)."""
    frames = np.broadcast_to(np.arange(steps + 1, dtype=np.uint8)[:, None, None, None], (steps + 1, 4, 4, 3))
    actions = np.stack([np.full(steps, id), np.arange(steps)], axis=1).astype(np.float32)
    flags = np.zeros(steps, bool)
    return Episode(np.array(frames), actions, np.zeros(steps, np.float32), flags, flags, id)


EPISODES = [episode(7, 20), episode(8, 12), episode(9, 3)]


def test_frames_and_actions_belong_together() -> None:
    clips = draw_clips(EPISODES, SPEC, num_clips=10, length=6, seed=0)
    assert clips.frames.shape == (10, 6, 4, 4, 3) and clips.actions.shape == (10, 5, 2)
    for index in range(10):
        times = np.arange(clips.starts[index], clips.starts[index] + 6)
        np.testing.assert_array_equal(clips.frames[index, :, 0, 0, 0], times)
        np.testing.assert_array_equal(clips.actions[index, :, 0], [clips.episodes[index]] * 5)
        np.testing.assert_array_equal(clips.actions[index, :, 1], times[:-1])


def test_draw_is_reproducible_without_repetition_and_spread_over_episodes() -> None:
    clips = draw_clips(EPISODES, SPEC, num_clips=12, length=6, seed=0)
    places = list(zip(clips.episodes, clips.starts, strict=True))
    again = draw_clips(EPISODES, SPEC, num_clips=12, length=6, seed=0)
    other = draw_clips(EPISODES, SPEC, num_clips=12, length=6, seed=1)
    assert places == list(zip(again.episodes, again.starts, strict=True))
    assert places != list(zip(other.episodes, other.starts, strict=True))
    assert len(set(places)) == 12
    assert clips.episodes.count(7) == clips.episodes.count(8) == 6  # episode 9 is too short


def test_too_many_clips_are_refused_with_the_number_there_is() -> None:
    with pytest.raises(ValueError, match="at most 24"):
        draw_clips(EPISODES, SPEC, num_clips=25, length=6, seed=0)


def test_shuffled_actions_come_from_another_episode_after_the_context() -> None:
    clips = draw_clips(EPISODES, SPEC, num_clips=8, length=6, seed=0)
    shuffled = clips.with_actions_of_next(3)
    np.testing.assert_array_equal(shuffled.actions[:, :3], clips.actions[:, :3])
    assert (shuffled.actions[:, 3:, 0] != clips.actions[:, 3:, 0]).all()
    np.testing.assert_array_equal(shuffled.frames, clips.frames)
