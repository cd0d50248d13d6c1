"""The scripted PushT mix: legal actions, all behaviours, and plenty of contact."""

from __future__ import annotations

import gym_pusht  # noqa: F401  registers the environment
import gymnasium as gym
import numpy as np
import pytest

from v2w_env.collect import pusht_policy
from v2w_env.collect.pusht_policy import (
    BEHAVIOURS,
    DASHING,
    PLANNING,
    TURNING,
    pusht_dashing,
    pusht_mix,
    pusht_planning,
    pusht_turning,
)


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


@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, "turn", "dash"])
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


def test_turners_go_along_while_the_block_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_long_turns(behaviour: str) -> float:
        """Share of the steps in which the block turns for ten steps in a row or more."""
        monkeypatch.setattr(pusht_policy, "BEHAVIOURS", {behaviour: 1.0})
        steps = [np.abs(np.diff(play(seed, 150)[1][:, 2])) > 0.02 for seed in range(16)]
        runs = [len(run) for turning in steps for run in "".join("x" if now else " " for now in turning).split()]
        return sum(run for run in runs if run >= 10) / sum(map(len, steps))

    turners, pushers = in_long_turns("turn"), in_long_turns("push")
    assert turners > 0.12 and turners > 1.5 * pushers


def test_dashers_leave_the_block_for_anywhere_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(behaviour: str) -> np.ndarray:
        """How far apart the targets of one step and the next are, in all episodes."""
        monkeypatch.setattr(pusht_policy, "BEHAVIOURS", {behaviour: 1.0})
        return np.concatenate([np.linalg.norm(np.diff(play(seed)[0], axis=0), axis=1) for seed in range(8)])

    dashers, turners = steps("dash"), steps("turn")
    assert (dashers > 150).mean() > 0.05 > 5 * (turners > 150).mean()
    assert (dashers < 40).mean() > 0.5  # most of the time it pushes, or holds where it went


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
    assert all(sum(mix.values()) == pytest.approx(1.0) for mix in (BEHAVIOURS, PLANNING, TURNING, DASHING))
    env = gym.make("gym_pusht/PushT-v0")
    _, info = env.reset(seed=3)
    for mix in (pusht_planning, pusht_turning, pusht_dashing):
        runs = [[mix(env, np.random.default_rng(5))(None, info) for _ in range(9)] for _ in range(2)]
        assert np.array_equal(*runs)
    env.close()
