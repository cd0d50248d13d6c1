"""Windows over episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from world_model.data import ClipDataset, Episode
from world_model.types import ActionSpec

SPEC = ActionSpec("box", shape=(2,), low=(0.0, 0.0), high=(1.0, 1.0))


def episode(number: int, steps: int) -> Episode:
    """Frame t shows t; action t holds (t, id)."""
    return Episode(
        frames=np.broadcast_to(np.arange(steps + 1, dtype=np.uint8)[:, None, None, None], (steps + 1, 4, 5, 3)).copy(),
        actions=np.stack([np.arange(steps), np.full(steps, number)], axis=1).astype(np.float32),
        rewards=np.zeros(steps, np.float32),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
        id=number,
    )


def test_every_window_once_in_order_with_the_actions_between_its_frames() -> None:
    clips = ClipDataset([episode(7, 5), episode(2, 3)], SPEC, window=4)
    assert [(clips[i]["episode"], clips[i]["start"]) for i in range(len(clips))] == [(7, 0), (7, 1), (7, 2), (2, 0)]
    for clip in (clips[i] for i in range(len(clips))):
        assert clip["frames"].dtype == torch.uint8 and clip["frames"].shape == (4, 4, 5, 3)
        assert clip["frames"][:, 0, 0, 0].tolist() == list(range(clip["start"], clip["start"] + 4))
        assert clip["actions"][:, 0].tolist() == clip["frames"][:-1, 0, 0, 0].tolist()
        assert clip["actions"][:, 1].tolist() == [clip["episode"]] * 3
    assert clips[-1]["episode"] == 2
    with pytest.raises(IndexError):
        clips[4]


def test_stride_and_batches() -> None:
    clips = ClipDataset([episode(0, 9), episode(1, 4)], SPEC, window=3, stride=3)
    assert [(clips[i]["episode"], clips[i]["start"]) for i in range(len(clips))] == [(0, 0), (0, 3), (0, 6), (1, 0)]
    batch = next(iter(DataLoader(clips, batch_size=4)))
    assert batch["frames"].shape == (4, 3, 4, 5, 3) and batch["actions"].shape == (4, 2, 2)
    assert batch["episode"].tolist() == [0, 0, 0, 1]


def test_writing_to_a_clip_leaves_the_data_alone() -> None:
    clips = ClipDataset([episode(0, 4)], SPEC, window=3)
    clips[0]["frames"].zero_()
    clips[0]["actions"].zero_()
    assert clips[0]["frames"].any() and clips[1]["actions"].any()


def test_short_episodes_fail_by_name_or_are_counted() -> None:
    episodes = [episode(0, 9), episode(5, 2)]
    with pytest.raises(ValueError, match=r"here: 1 of 2 episodes are shorter than the window of 6.*episode 5 with 3"):
        ClipDataset(episodes, SPEC, window=6, source="here")
    clips = ClipDataset(episodes, SPEC, window=6, short="skip")
    assert clips.skipped_episodes == 1 and len(clips) == 5
    with pytest.raises(ValueError, match="all 2 episodes are shorter"):
        ClipDataset(episodes, SPEC, window=11, short="skip")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": [], "source": "runs/nothing"}, "runs/nothing has no episodes"),
        ({"window": 1}, "window >= 2"),
        ({"stride": 0}, "stride >= 1"),
        ({"short": "drop"}, "short: expected 'error' or 'skip'"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipDataset(**{"episodes": [episode(0, 4)], "actions": SPEC, "window": 3} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((4, 2, 2, 3), np.float32)}, "frames: expected uint8"),
        ({"frames": np.zeros((4, 3, 2, 2), np.uint8)}, "frames: expected uint8"),
        ({"actions": np.zeros((4, 2), np.float32)}, "episode 3, actions: expected one per step, 3 for 4 frames, got 4"),
        ({"rewards": np.zeros(2, np.float32)}, "rewards: expected one per step"),
    ],
)
def test_inconsistent_episode(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Episode(**vars(episode(3, 3)) | changes)
