"""The scripted PushT mix: legal actions, all behaviours, and plenty of contact."""

from __future__ import annotations

import gym_pusht  # noqa: F401  registers the environment
import gymnasium as gym
import numpy as np
import pytest

from v2w_env.collect import pusht_policy
from v2w_env.collect.pusht_policy import BEHAVIOURS, PLANNING, pusht_mix, pusht_planning


def play(seed: int, steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    env = gym.make("gym_pusht/PushT-v0")
    observation, info = env.reset(seed=seed)
    policy = pusht_mix(env, np.random.default_rng(seed))
    actions, poses = [], [info["block_pose"]]
    for _ in range(steps):
        actions.append(policy(observation, info))
        assert env.action_space.contains(actions[-1])
        observation, _, terminated, _, info = env.step(actions[-1])
        poses.append(info["block_pose"])
        if terminated:
            break
    env.close()
    return np.stack(actions), np.stack(poses)


@pytest.mark.parametrize("behaviour", list(BEHAVIOURS))
def test_every_behaviour_moves_and_turns_the_block(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusht_policy, "BEHAVIOURS", {behaviour: 1.0})
    moved, turned = [], []
    for seed in range(4):
        _, poses = play(seed)
        moved.append(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1).sum())
        turned.append(np.abs(np.diff(poses[:, 2])).sum())
    assert np.median(moved) > 50 and np.median(turned) > 0.3


def test_gliders_run_into_the_block_at_a_planners_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusht_policy, "BEHAVIOURS", {"glide": 1.0})
    moved, leaps = [], []
    for seed in range(6):
        actions, poses = play(seed, steps=60)
        moved.append(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1).sum())
        leaps.append(np.linalg.norm(actions[5:] - actions[:-5], axis=1))
    assert np.median(moved) > 150
    assert np.quantile(np.concatenate(leaps), 0.75) > 100  # in the time of a block


def test_pushers_keep_the_block_off_the_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusht_policy, "BEHAVIOURS", {"push": 1.0})
    centres = []
    for seed in range(4):
        _, poses = play(seed)
        angle = poses[:, 2]
        centres.append(poses[:, :2] + 45.0 * np.stack([-np.sin(angle), np.cos(angle)], axis=1))
    inside = np.all((np.concatenate(centres) > 75) & (np.concatenate(centres) < 437), axis=1)
    assert inside.mean() > 0.9


def test_mix_follows_from_the_generator_and_varies() -> None:
    first, _ = play(3, steps=20)
    again, _ = play(3, steps=20)
    assert np.array_equal(first, again)
    assert sum(BEHAVIOURS.values()) == pytest.approx(1.0) == sum(PLANNING.values())
    env = gym.make("gym_pusht/PushT-v0")
    _, info = env.reset(seed=3)
    runs = [[pusht_planning(env, np.random.default_rng(5))(None, info) for _ in range(9)] for _ in range(2)]
    assert np.array_equal(*runs)
    env.close()
