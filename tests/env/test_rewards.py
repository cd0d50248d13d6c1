"""Rewards and terminations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from v2w_env import EnvConfig, GoalImageReward, NoReward, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from v2w_env.rewards import choose_reward
from world_model.model import WorldModel

STEP = np.array([[100, 200], [300, 400]], np.float32)


def make(model: WorldModel, source: EpisodeSource, **settings: Any) -> Vid2WorldVectorEnv:
    return Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source, **settings), 2)


def test_none(model: WorldModel, source: EpisodeSource) -> None:
    env = make(model, source)
    env.reset(seed=0)
    _, rewards, terminated, truncated, infos = env.step(STEP)
    assert rewards.tolist() == [0, 0] and rewards.dtype == np.float64
    assert not terminated.any() and not truncated.any() and infos == {}


def test_a_function_sees_frames_native_actions_and_step_counts(model: WorldModel, source: EpisodeSource) -> None:
    seen = []

    def reward(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
        seen.append((frames.copy(), actions, info["elapsed_steps"]))
        frames[:] = 0  # scribbling on them hurts nobody
        return actions[:, 0], False

    env = make(model, source, reward=reward, action_range="normalized", observation="pixels")
    env.reset(seed=0)
    observations, rewards, terminated, _, _ = env.step(np.array([[-1, 0], [1, 0]]))
    assert np.array_equal(seen[0][0], observations) and observations.any()
    assert seen[0][1].tolist() == [[0, 256], [512, 256]] and seen[0][2].tolist() == [1, 1]
    assert rewards.tolist() == [0, 512] and not terminated.any()


def test_a_function_works_with_latent_observations(model: WorldModel, source: EpisodeSource) -> None:
    env = make(
        model, source, reward=lambda frames, actions, info: (frames.mean((1, 2, 3)), False), observation="latent"
    )
    env.reset(seed=0)
    assert (env.step(STEP)[1] > 1).all()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (1.0, r"expected \(reward, terminated\), got float"),
        ((np.zeros(3), False), r"expected reward as numbers of shape \(2,\), got float64 of shape \(3,\)"),
        (("high", False), "expected reward as numbers"),
        ((np.array([0.0, np.nan]), False), "reward is not finite"),
        ((0.0, 1), "expected terminated as bools"),
    ],
)
def test_bad_functions(model: WorldModel, source: EpisodeSource, result: Any, message: str) -> None:
    env = make(model, source, reward=lambda frames, actions, info: result)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(STEP)


@pytest.mark.parametrize("space", ["pixels", "latent"])
def test_goal_image(model: WorldModel, source: EpisodeSource, space: Any) -> None:
    """The frame that really comes next is reached; another is not."""
    plain = make(model, source, observation="pixels")
    plain.reset(seed=0)
    next_frames = plain.step(STEP)[0]
    threshold = 0.01 if space == "pixels" else 0.35
    env = make(model, source, reward=GoalImageReward(space=space, threshold=threshold))
    env.reset(seed=0, options={"goal": next_frames})
    _, rewards, terminated, _, infos = env.step(STEP)
    assert np.array_equal(rewards, -infos["goal_distance"]) and (rewards <= 0).all()
    if space == "pixels":
        assert rewards.tolist() == [0, 0] and terminated.all() and infos["is_success"].all()
    env.reset(seed=0, options={"goal": 255 - next_frames})
    _, far, terminated, _, infos = env.step(STEP)
    assert (far != rewards).all()  # an untrained autoencoder does not say which is farther
    assert np.array_equal(terminated, infos["is_success"])


def test_goals_at_make_at_reset_and_kept(model: WorldModel, source: EpisodeSource) -> None:
    black, white = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    env = make(model, source, reward="goal_image", goal=black)

    def distances(options: dict[str, Any] | None) -> np.ndarray:
        env.reset(seed=0, options=options)
        return env.step(STEP)[4]["goal_distance"]

    to_black = distances(None)
    to_white = distances({"goal": white})
    assert (to_black != to_white).all()
    assert np.array_equal(distances(None), to_white), "a goal stays until another is given"
    mixed = distances({"goal": np.stack([black, white])})
    assert mixed.tolist() == [to_black[0], to_white[1]]
    env.reset(seed=0, options={"goal": black, "reset_mask": np.array([False, True])})
    assert env.step(STEP)[4]["goal_distance"][1] == pytest.approx(to_black[1], rel=1e-4)


def test_a_goal_is_needed(model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source, reward="goal_image"))
    with pytest.raises(ValueError, match=r"needs a goal image; pass goal= at make or options"):
        env.reset()


def test_choosing() -> None:
    assert isinstance(choose_reward("none"), NoReward)
    ready = GoalImageReward()
    assert choose_reward(ready) is ready
    for bad in ({"threshold": -1.0}, {"space": "sound"}):
        with pytest.raises(ValueError, match="goal_image"):
            GoalImageReward(**bad)  # type: ignore[arg-type]
