"""All three autoreset modes, step by step against Gymnasium's own SyncVectorEnv of single environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from v2w_env import EnvConfig, RewardModel, RewardOutput, Transition, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from world_model.model import WorldModel

NUM_ENVS, MAX_STEPS, STEPS = 3, 6, 20


class EndsOnLargeActions(RewardModel):
    """Terminates at different times in each sub-environment, and reports infos of several kinds."""

    def evaluate(self, transition: Transition) -> RewardOutput:
        assert transition.frames is not None
        first = transition.actions[:, 0].astype(np.float64)
        info = {
            "first_action": first,
            "large": first > 400,
            "elapsed": transition.elapsed_steps.astype(np.int32),
            "both": transition.actions,
        }
        return RewardOutput(first / 512, first > 400, info)


def pair(model: WorldModel, source: EpisodeSource, mode: AutoresetMode) -> tuple[Vid2WorldVectorEnv, SyncVectorEnv]:
    config = EnvConfig(checkpoint=model, reset_source=source, reward=EndsOnLargeActions())
    ours = Vid2WorldVectorEnv(config, NUM_ENVS, MAX_STEPS, mode)

    def single() -> gym.Env:
        return gym.wrappers.TimeLimit(Vid2WorldEnv(config), MAX_STEPS)

    return ours, SyncVectorEnv([single] * NUM_ENVS, autoreset_mode=mode)


def assert_same(ours: Any, theirs: Any, path: str = "") -> None:
    """Equal types, keys and values; frames may differ by one grey level, because batched arithmetic rounds."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys(), path
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{path}.{key}")
        return
    assert type(ours) is type(theirs), path
    if theirs is None or isinstance(theirs, str):
        assert ours == theirs, path
        return
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, path
    if theirs.dtype == object:
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, f"{path}[]")
    elif theirs.dtype == np.uint8:
        assert np.abs(ours.astype(int) - theirs).max() <= 1, path
    else:
        np.testing.assert_array_equal(ours, theirs, path)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_like_sync_vector_env(model: WorldModel, source: EpisodeSource, mode: AutoresetMode) -> None:
    ours, theirs = pair(model, source, mode)
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is mode
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    (obs_a, info_a), (obs_b, info_b) = ours.reset(seed=7), theirs.reset(seed=7)
    assert_same(obs_a, obs_b, "obs")
    assert_same(info_a, info_b, "info")
    rng = np.random.default_rng(1)
    seen = {"terminated": 0, "truncated": 0}
    for step in range(STEPS):
        actions = rng.uniform(0, 480, (NUM_ENVS, 2)).astype(np.float32)
        result_a, result_b = ours.step(actions), theirs.step(actions)
        for name, a, b in zip(("obs", "reward", "terminated", "truncated", "info"), result_a, result_b, strict=True):
            assert_same(a, b, f"step {step} {name}")
        seen["terminated"] += int(result_a[2].sum())
        seen["truncated"] += int(result_a[3].sum())
        ended = result_a[2] | result_a[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            seed = [int(s) for s in rng.integers(0, 1000, NUM_ENVS)] if step % 2 else None
            reset_a = ours.reset(seed=seed, options={"reset_mask": ended})  # type: ignore[arg-type]
            reset_b = theirs.reset(seed=seed, options={"reset_mask": ended})  # type: ignore[arg-type]
            for name, a, b in zip(("obs", "info"), reset_a, reset_b, strict=True):
                assert_same(a, b, f"step {step} reset {name}")
    assert min(seen.values()) > 0, "the test must see both kinds of end"


def test_next_step_ignores_the_action_of_the_reset_step(model: WorldModel, source: EpisodeSource) -> None:
    env, _ = pair(model, source, AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    actions = np.full((NUM_ENVS, 2), 100, np.float32)
    actions[1] = 500
    assert env.step(actions)[2].tolist() == [False, True, False]
    actions[1] = np.nan
    _, rewards, terminated, _, infos = env.step(actions)
    assert rewards[1] == 0 and not terminated.any()
    assert infos["_reset_source"].tolist() == [False, True, False]


def test_disabled_refuses_to_step_past_the_end(model: WorldModel, source: EpisodeSource) -> None:
    env, _ = pair(model, source, AutoresetMode.DISABLED)
    env.reset(seed=0)
    actions = np.full((NUM_ENVS, 2), 100, np.float32)
    actions[2] = 500
    env.step(actions)
    with pytest.raises(ResetNeeded, match=r"sub-envs \[2\]"):
        env.step(actions)
    env.reset(options={"reset_mask": np.array([False, False, True])})
    env.step(actions)


def test_partial_reset_leaves_the_others_alone(model: WorldModel, source: EpisodeSource) -> None:
    """Sub-environment 0 goes on as if its neighbour had never been reset."""
    config = EnvConfig(checkpoint=model, reset_source=source)
    actions = np.full((2, 2), 100, np.float32)

    def run(with_reset: bool) -> list[np.ndarray]:
        env = Vid2WorldVectorEnv(config, 2)
        env.reset(seed=0)
        frames = []
        for step in range(12):
            if step == 3 and with_reset:
                env.reset(options={"reset_mask": np.array([False, True])})
            frames.append(env.step(actions)[0].astype(int))
        return frames

    plain, other = run(False), run(True)
    assert all(np.abs(a[0] - b[0]).max() <= 1 for a, b in zip(plain, other, strict=True))
    assert any(np.abs(a[1] - b[1]).max() > 1 for a, b in zip(plain, other, strict=True))
