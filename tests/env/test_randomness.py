"""The randomness contract: a trajectory depends on its seed and actions, not on the batch it runs in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from v2w_env import EnvConfig, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from world_model.model import WorldModel

STEPS = 50


def config(model: WorldModel, source: EpisodeSource) -> EnvConfig:
    return EnvConfig(checkpoint=model, reset_source=source, observation="latent")


def actions_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 512, (STEPS, 2)).astype(np.float32)


def trajectory(env: Vid2WorldVectorEnv, seeds: list[int], steps: int = STEPS) -> np.ndarray:
    """Latents [t n c h w]."""
    env.reset(seed=seeds)
    actions = np.stack([actions_of(seed)[:steps] for seed in seeds], axis=1)
    return np.stack([env.step(action)[0] for action in actions])


@pytest.fixture(scope="module")
def alone(model: WorldModel, source: EpisodeSource) -> dict[int, np.ndarray]:
    """Sub-environments 10, 13 and 25 (first, middle and last of the batches below), each run as a single env."""
    result = {}
    for seed in (10, 13, 25):
        env = Vid2WorldEnv(config(model, source))
        env.reset(seed=seed)
        result[seed] = np.stack([env.step(action)[0] for action in actions_of(seed)])
    return result


@pytest.mark.parametrize("num_envs", [1, 4, 16])
def test_alone_or_in_a_batch(
    model: WorldModel, source: EpisodeSource, alone: dict[int, np.ndarray], num_envs: int
) -> None:
    env = Vid2WorldVectorEnv(config(model, source), num_envs)
    batch = trajectory(env, list(range(10, 10 + num_envs)))
    compared = 0
    for seed, expected in alone.items():
        if seed < 10 + num_envs:
            difference = pixels(model, batch[:, seed - 10]) - pixels(model, expected)
            assert difference.abs().max() <= 1e-4
            compared += 1
    assert compared == {1: 1, 4: 2, 16: 3}[num_envs]


def pixels(model: WorldModel, latents: np.ndarray) -> torch.Tensor:
    """Decoded frames in [0, 1]."""
    with torch.no_grad():
        return (model.decode(torch.from_numpy(latents)[:, None]) + 1) / 2


def test_a_rerun_is_bit_identical(model: WorldModel, source: EpisodeSource) -> None:
    runs = [trajectory(Vid2WorldVectorEnv(config(model, source), 4), [1, 2, 3, 4], 20) for _ in range(2)]
    assert np.array_equal(runs[0], runs[1])


def test_an_int_seed_counts_up(model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldVectorEnv(config(model, source), 3)
    counted, _ = env.reset(seed=5)
    assert env.np_random_seed == (5, 6, 7)
    listed, _ = env.reset(seed=[5, 6, 7])
    assert np.array_equal(counted, listed)


def test_without_a_seed_the_streams_go_on(model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 4)
    starts = []
    for seed in (3, None, None, 3, None, None):
        starts.append(env.reset(seed=seed)[0])
    for first, second in zip(starts[:3], starts[3:], strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(starts[0], starts[1])
    unseeded = [Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 1) for _ in range(2)]
    for one in unseeded:
        one.reset()
    assert unseeded[0].np_random_seed != unseeded[1].np_random_seed


def test_noise_comes_from_the_seed_alone(model: WorldModel, source: EpisodeSource) -> None:
    """Same start, same actions, other seed: other frames; and nobody touches torch's global generator."""
    env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source))
    options = {"frames": source.frames[0, :2], "actions": source.actions[0, :1]}
    frames = []
    before = torch.get_rng_state()
    for seed in (0, 1, 0):
        torch.manual_seed(seed + 10)
        env.reset(seed=seed, options=options)
        frames.append(env.step(np.array([100, 100], np.float32))[0])
    torch.set_rng_state(before)
    assert np.array_equal(frames[0], frames[2]) and not np.array_equal(frames[0], frames[1])
