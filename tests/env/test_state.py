"""Saving, restoring and branching are exact and cheap."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode

from v2w_env import EnvConfig, GoalImageReward, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from world_model.model import WorldModel

ACTIONS = np.random.default_rng(0).uniform(0, 512, (20, 2)).astype(np.float32)


@pytest.fixture
def config(model: WorldModel, source: EpisodeSource) -> EnvConfig:
    return EnvConfig(checkpoint=model, reset_source=source, render_mode="rgb_array")


def play(env: Vid2WorldEnv, actions: np.ndarray) -> np.ndarray:
    return np.stack([env.step(action)[0] for action in actions])


def test_restoring_is_exact(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    play(env, ACTIONS[:10])
    state, shown = env.get_state(), env.render()
    first = play(env, ACTIONS[10:])
    after_reset = env.reset()[0]
    env.set_state(state)
    assert np.array_equal(env.render(), shown)
    assert np.array_equal(play(env, ACTIONS[10:]), first)
    assert np.array_equal(env.reset()[0], after_reset), "the stream of resets is part of the state"


def test_a_state_survives_pickling_and_moves_to_another_env(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    play(env, ACTIONS[:5])
    copy = pickle.loads(pickle.dumps(env.get_state()))
    other = Vid2WorldEnv(config)
    other.set_state(copy)
    assert np.array_equal(play(other, ACTIONS[5:]), play(env, ACTIONS[5:]))


def test_restoring_keeps_step_counts_and_pending_resets(config: EnvConfig) -> None:
    env = Vid2WorldVectorEnv(config, 2, max_episode_steps=3)
    env.reset(seed=0)
    for action in ACTIONS[:3]:
        truncated = env.step(np.stack([action, action]))[3]
    assert truncated.all()
    state = env.get_state()
    infos = [env.step(ACTIONS[:2])[4], env.set_state(state), env.step(ACTIONS[:2])[4]]
    assert infos[0]["_reset_source"].all() and infos[2]["_reset_source"].all()
    assert infos[0]["reset_clip"].tolist() == infos[2]["reset_clip"].tolist()


def test_a_fork_with_the_same_actions_and_noise_gives_the_same_frames(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    play(env, ACTIONS[:6])
    twin, branches = env.fork(1), env.fork(4)
    expected = play(env, ACTIONS[6:])
    for action, frame in zip(ACTIONS[6:], expected, strict=True):
        assert np.array_equal(twin.step(action[None])[0][0], frame)
        observations = branches.step(np.stack([action] * 4))[0].astype(int)
        assert np.abs(observations - frame).max() <= 1  # batched arithmetic may round differently


def test_branches_do_not_disturb_their_parent_or_each_other(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    play(env, ACTIONS[:4])
    state = env.get_state()
    expected = play(env, ACTIONS[4:])
    env.set_state(state)
    fork, other = env.fork(3), env.fork(3)
    for i in range(5):
        fork.step(ACTIONS[i : i + 3])
        other.step(ACTIONS[i + 3 : i + 6])
    assert np.array_equal(play(env, ACTIONS[4:]), expected)


def test_a_fork_of_a_finished_episode_resets_first(model: WorldModel, source: EpisodeSource) -> None:
    def ends_at_once(frames: np.ndarray, actions: np.ndarray, info: dict) -> tuple[float, bool]:
        return 1.0, True

    env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source, reward=ends_at_once))
    env.reset(seed=0)
    assert env.step(ACTIONS[0])[2]
    with pytest.raises(ResetNeeded):
        env.step(ACTIONS[1])
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        fork = env.fork(2, autoreset_mode=mode)
        _, rewards, terminated, _, infos = fork.step(ACTIONS[:2])
        assert not rewards.any() and not terminated.any() and infos["_reset_source"].all()
        assert fork.step(ACTIONS[:2])[2].all()


def test_an_error_in_a_reward_leaves_the_world_where_it_was(model: WorldModel, source: EpisodeSource) -> None:
    def fails(frames: np.ndarray, actions: np.ndarray, info: dict) -> tuple[float, bool]:
        raise ZeroDivisionError

    env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source, reward=fails, render_mode="rgb_array"))
    observation, _ = env.reset(seed=0)
    with pytest.raises(ZeroDivisionError):
        env.step(ACTIONS[0])
    assert np.array_equal(env.render(), observation)
    assert env.get_state().elapsed_steps.tolist() == [0]


def test_fork_seeds(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    fresh = env.fork(2, seed=100)
    assert fresh.np_random_seed == (100, 101)
    same_action = np.stack([ACTIONS[0]] * 2)
    first, second = fresh.step(same_action)[0]
    assert not np.array_equal(first, second)
    again = env.fork(2, seed=100).step(same_action)[0]
    assert np.array_equal(again[0], first) and np.array_equal(again[1], second)


def test_forking_a_vector_env(config: EnvConfig) -> None:
    env = Vid2WorldVectorEnv(config, 3, autoreset_mode=AutoresetMode.SAME_STEP)
    observations, _ = env.reset(seed=0)
    everyone, one = env.fork(2), env.fork(2, index=1)
    assert everyone.num_envs == 6 and everyone.autoreset_mode is AutoresetMode.SAME_STEP
    assert np.array_equal(everyone.get_state().frames, observations.repeat(2, axis=0))
    assert np.array_equal(one.get_state().frames, observations[[1, 1]])
    assert everyone.observation_space.shape == (6, *observations.shape[1:])
    with pytest.raises(ValueError, match="index 3 is out of range"):
        env.fork(2, index=3)
    with pytest.raises(ValueError, match="at least 1 copy"):
        env.fork(0)


def test_a_chosen_branch_becomes_the_present(config: EnvConfig) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    fork = env.fork(3, seed=1)
    observations = fork.step(ACTIONS[:3])[0]
    env.set_state(fork.get_state().select([2]))
    assert np.array_equal(env.render(), observations[2])


def test_goals_travel_with_the_state(model: WorldModel, source: EpisodeSource) -> None:
    for space in ("pixels", "latent"):
        reward = GoalImageReward(space=space, threshold=None)
        env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source, reward=reward))
        env.reset(seed=0, options={"goal": source.frames[1, 0]})
        fork = env.fork(2)
        reward_of_env = env.step(ACTIONS[0])[1]
        np.testing.assert_allclose(fork.step(ACTIONS[[0, 0]])[1], reward_of_env, rtol=1e-4)


def test_states_can_be_differentiated_through(config: EnvConfig, model: WorldModel) -> None:
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    env.step(ACTIONS[0])
    action = torch.full((1, 2), 200.0, requires_grad=True)
    _, latent = model.step(env.get_state().world, action, torch.Generator().manual_seed(0))
    latent.square().mean().backward()
    assert action.grad is not None and action.grad.abs().sum() > 0


def test_a_fork_costs_under_two_percent_of_a_step(config: EnvConfig) -> None:
    """Compared with a step of the same 16 branches; the fastest of several, since other work may interrupt."""
    env = Vid2WorldEnv(config)
    env.reset(seed=0)
    play(env, ACTIONS[:8])
    branches = env.fork(16)
    actions = np.stack([ACTIONS[0]] * 16)

    def fastest(run, repeats: int) -> float:  # type: ignore[no-untyped-def]
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    step = fastest(lambda: branches.step(actions), 5)
    fork = fastest(lambda: env.fork(16), 50)
    assert fork < 0.02 * step, f"fork {fork * 1e3:.2f} ms, step {step * 1e3:.2f} ms"


def test_bad_states(config: EnvConfig, model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldEnv(config)
    with pytest.raises(ResetNeeded):
        env.get_state()
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(ValueError, match=r"1 sub-envs, got 3.*select"):
        env.set_state(state.repeat(3))
    with pytest.raises(ValueError, match="expected an EnvState"):
        env.set_state("here")  # type: ignore[arg-type]
    wants_goal = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source, reward="goal_image"))
    with pytest.raises(ValueError, match="needs goals"):
        wants_goal.set_state(state)
    env.close()
    for call in (env.get_state, lambda: env.set_state(state), lambda: env.fork(2)):
        with pytest.raises(ClosedEnvironmentError):
            call()
