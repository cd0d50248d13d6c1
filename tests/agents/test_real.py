"""The real simulator looks as the dream does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents.arena import DreamArena, RealArena
from agents.dream import load_dream
from agents.evaluate import evaluate, interval
from agents.policies import FunctionPolicy, RandomPolicy
from agents.real import RealEnv, encoder, make_real, make_real_env
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import stacked
from tests.agents.worlds import HORIZON, SPECS, Dots, dark_ends
from v2w_env.collect.frames import resize
from world_model.model import WorldModel

Make = Callable[..., WorldModelVecEnv]
DOTS = {"simulator": "AgentDots-v0"}


@pytest.mark.parametrize("observation", ["pixels", "latent"])
@pytest.mark.parametrize("kind", list(SPECS))
def test_spaces_are_those_of_the_dream(dream: Make, models: dict[str, WorldModel], kind: str, observation: Any) -> None:
    imagined = stacked(dream(kind, 2, observation=observation), 3)
    range_ = "normalized" if kind == "box" else "native"
    real = make_real(
        models[kind], 2, **DOTS, simulator_kwargs={"kind": kind}, action_range=range_, observation=observation
    )
    real = stacked(real, 3)
    assert real.observation_space == imagined.observation_space and real.action_space == imagined.action_space
    observations = [env.reset() for env in (real, imagined)]
    assert observations[0].shape == observations[1].shape and observations[0].dtype == observations[1].dtype
    actions = np.array([real.action_space.sample() for _ in range(2)])
    assert real.step(actions)[0].shape == imagined.step(actions)[0].shape
    real.close()


def test_latents_are_the_encoders(models: dict[str, WorldModel]) -> None:
    kwargs = {"kind": "box", "length": 3}
    pixels, latents = (
        make_real(models["box"], 2, **DOTS, simulator_kwargs=kwargs, observation=observation)
        for observation in ("pixels", "latent")
    )
    encode = encoder(models["box"])
    for env in (pixels, latents):
        env.seed(0)
    assert np.allclose(encode(pixels.reset()), latents.reset(), atol=1e-5)
    actions = np.array([[0.0, 0.0], [512.0, 0.0]])
    for _ in range(3):
        frames, *_, infos = pixels.step(actions)
        seen, *_, real_infos = latents.step(actions)
        assert np.allclose(encode(frames), seen, atol=1e-5)
    ends = [np.stack([info["terminal_observation"] for info in one]) for one in (infos, real_infos)]
    assert np.allclose(encode(ends[0]), ends[1], atol=1e-5)


def test_a_step_repeats_the_action_and_sums_rewards(models: dict[str, WorldModel]) -> None:
    config = replace(models["box"].config, frame_skip=4)
    env = RealEnv(Dots("box", length=6), config)
    plain = Dots("box")
    assert np.array_equal(env.reset(seed=0)[0], resize(plain.reset(seed=0)[0], (16, 16)))
    frame, reward, terminated, truncated, info = env.step(np.array([256.0, 0.0]))
    assert reward == pytest.approx(4 * 0.5) and info["simulator_steps"] == 4 and not terminated
    assert np.array_equal(frame, resize(plain.step(np.array([256.0, 0.0], np.float32))[0], (16, 16)))
    assert np.array_equal(env.render(), frame)
    _, reward, terminated, truncated, info = env.step(np.array([512.0, 0.0]))
    assert reward == pytest.approx(2.0) and info["simulator_steps"] == 2 and terminated and not truncated
    with pytest.raises(gym.error.InvalidAction):
        env.step(np.array([513.0, 0.0]))


def test_blocks_of_actions_are_performed_one_by_one(models: dict[str, WorldModel]) -> None:
    config = replace(models["box"].config, actions=SPECS["box"].block(2), action_block=2, frame_skip=2)
    env = RealEnv(Dots("box", length=7), config)
    env.reset(seed=0)
    block = np.array([[512.0, 0.0], [0.0, 0.0]])
    _, reward, terminated, _, info = env.step(block)
    assert reward == pytest.approx(2.0) and info["simulator_steps"] == 4 and not terminated
    _, reward, terminated, _, info = env.step(block[::-1])
    assert reward == pytest.approx(1.0) and info["simulator_steps"] == 3 and terminated
    discrete = replace(models["discrete"].config, actions=SPECS["discrete"].block(3), action_block=3)
    env = RealEnv(Dots("discrete", length=7), discrete)
    env.reset(seed=0)
    assert env.step(np.array([4, 0, 2]))[1] == pytest.approx(1.0)


def test_the_horizon_truncates(models: dict[str, WorldModel]) -> None:
    env = make_real(models["box"], 1, **DOTS, horizon=2)
    env.reset()
    for step in range(2):
        *_, dones, infos = env.step(np.zeros((1, 2), np.float32))
        assert dones[0] == (step == 1)
    assert infos[0]["TimeLimit.truncated"] is True


def test_what_does_not_fit_is_refused(models: dict[str, WorldModel]) -> None:
    with pytest.raises(ValueError, match=r"simulator: expected the actions .* Box.*got Discrete\(2\)"):
        make_real_env(models["box"].config, "CartPole-v1")
    with pytest.raises(ValueError, match="cannot make 'NoSuch-v0'"):
        make_real_env(models["box"].config, "NoSuch-v0")
    with pytest.raises(ValueError, match="simulator: this world model does not say"):
        make_real_env(replace(models["box"].config, source_env=""))


def real_arena(model: WorldModel, num_envs: int, horizon: int | None = None, length: int = 9) -> RealArena:
    return RealArena(
        lambda: make_real_env(model.config, "AgentDots-v0", {"kind": "box", "length": length}, horizon), num_envs
    )


def to_the_right(frames: np.ndarray) -> np.ndarray:
    """Where the dot is now, in pixels of the world, and a bit further."""
    dark = (255 - frames.astype(float)).sum(axis=(1, 3))
    place = (dark * np.arange(dark.shape[1])).sum(axis=1) / np.maximum(dark.sum(axis=1), 1)
    return np.stack([np.clip(place / 12 * 512 + 20, 0, 512), np.zeros(len(frames))], axis=1)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_real_episodes_follow_from_their_seeds(models: dict[str, WorldModel], num_envs: int) -> None:
    policy = FunctionPolicy(to_the_right, SPECS["box"])
    found = evaluate(policy, real_arena(models["box"], num_envs), episodes=5, seed=20, films=2)
    assert found.seeds == (20, 21, 22, 23, 24)
    assert found.lengths.tolist() == found.simulator_steps.tolist() == [9] * 5 and found.terminated.all()
    env = make_real_env(models["box"].config, "AgentDots-v0")
    frame, _ = env.reset(seed=22)
    total, frames = 0.0, [frame]
    for _ in range(9):
        frame, reward, _, _, info = env.step(to_the_right(frame[None])[0])
        total += reward
        frames.append(frame)
    assert found.returns[2] == pytest.approx(total) and found.success[2] == info["is_success"]
    assert [film.shape for film in found.films] == [(10, 16, 16, 3)] * 2
    again = evaluate(policy, real_arena(models["box"], 1), episodes=1, seed=22, films=1)
    assert np.array_equal(again.films[0], np.stack(frames))


@pytest.mark.parametrize("num_envs", [2, 5])
def test_imagined_episodes_follow_from_their_seeds(ids: dict[str, str], num_envs: int) -> None:
    from gymnasium.vector import AutoresetMode

    def play(count: int, episodes: int, seed: int) -> Any:
        settings = {"reward": dark_ends, "action_range": "native"}
        arena = DreamArena(load_dream(ids["box"], settings).make(count, AutoresetMode.DISABLED))
        found = evaluate(FunctionPolicy(to_the_right, SPECS["box"]), arena, episodes, seed, films=episodes)
        arena.close()
        return found

    found, alone = play(num_envs, 5, 20), play(1, 1, 23)
    assert found.lengths[3] == alone.lengths[0] and found.returns[3] == pytest.approx(alone.returns[0], abs=1e-3)
    assert np.abs(found.films[3].astype(int) - alone.films[0]).max() <= 1
    assert (found.lengths <= HORIZON).all() and found.terminated.any()
    assert all(len(film) == length + 1 for film, length in zip(found.films, found.lengths, strict=True))
    assert found.success == ()


def test_the_summary_is_plain_numbers(models: dict[str, WorldModel]) -> None:
    import json

    arena = real_arena(models["box"], 2, horizon=4)
    found = evaluate(RandomPolicy(SPECS["box"]), arena, episodes=6)
    summary = json.loads(json.dumps(found.to_dict()))
    assert summary["episodes"] == 6 and summary["mean_length"] == 4 and summary["terminated"] == 0
    assert summary["mean"] == pytest.approx(np.mean(summary["per_episode"]["return"]))
    assert summary["std"] == pytest.approx(np.std(summary["per_episode"]["return"], ddof=1))
    assert summary["ci_low"] < summary["mean"] < summary["ci_high"]
    assert summary["success"] == np.mean(summary["per_episode"]["success"])
    with pytest.raises(ValueError, match="episodes: expected at least 1"):
        evaluate(RandomPolicy(SPECS["box"]), arena, episodes=0)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = interval(rng.normal(3.0, 2.0, 40))
        hits += low <= 3.0 <= high
    assert 180 <= hits <= 198


def test_a_dream_arena_wants_frames_and_no_autoreset(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="autoreset_mode='Disabled', got 'SameStep'"):
        DreamArena(load_dream(ids["box"]).make(1))
