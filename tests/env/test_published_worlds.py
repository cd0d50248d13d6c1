"""The environments of the published models, end to end on tiny checkpoints in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.error import InvalidAction, MissingArgument
from PIL import Image

import v2w_env
from v2w_env.encodings import CSGOActions
from world_model.checkpoints.load import load
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.synthetic import TINY, write_synthetic
from world_model.model import WorldModel
from world_model.network.normalization import TemporalNorm

QUICK: dict[str, Any] = {"num_sampling_steps": 2, "dtype": "float32"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Lightning, a DeepSpeed and a safetensors file."""
    folder = tmp_path_factory.mktemp("published")
    forms = {
        "rt1": ("lightning", "rt1.ckpt"),
        "csgo": ("deepspeed", "csgo.pt"),
        "recon": ("safetensors", "r.safetensors"),
    }
    return {
        name: write_synthetic(folder / file, published_shapes(TINY[name]), form)  # type: ignore[arg-type]
        for name, (form, file) in forms.items()
    }


def recorded_frames(name: str, count: int) -> np.ndarray:
    height, width = v2w_env.DATASETS[name].recorded_size
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("name", ["rt1", "csgo", "recon"])
def test_it_steps_from_a_recorded_frame(checkpoints: dict[str, Path], name: str) -> None:
    env = gym.make(f"Vid2World-{name.upper()}-v0", checkpoint=checkpoints[name], **QUICK)
    assert env.observation_space == spaces.Box(0, 255, (320, 512, 3), np.uint8)
    first, info = env.reset(seed=0, options={"frames": recorded_frames(name, 1)})
    bars = first[:, 0] if name != "csgo" else first[0]
    assert info["reset_source"] == "options" and not bars.any() and first[160, 256].any()
    action = env.action_space.sample()
    frame, reward, terminated, truncated, _ = env.step(action)
    assert frame.shape == (320, 512, 3) and frame.std() > 0 and (reward, terminated, truncated) == (0.0, False, False)
    again = gym.make(f"Vid2World-{name.upper()}-v0", checkpoint=checkpoints[name], **QUICK)
    again.reset(seed=0, options={"frames": recorded_frames(name, 1)})
    np.testing.assert_array_equal(again.step(action)[0], frame)


def test_the_spaces_are_the_true_ones() -> None:
    worlds = v2w_env.DATASETS
    assert {name: world.actions.size for name, world in worlds.items()} == {"rt1": 13, "csgo": 51, "recon": 3}
    fields = dict(worlds["rt1"].action_fields)
    assert sum(fields.values()) == 13 and fields["world_vector"] == 3 and fields["terminate_episode"] == 3
    mouse = CSGOActions()
    assert mouse.space.nvec.tolist() == [2] * 13 + [23, 15] and len(mouse.fields) == 15


def test_keyboard_and_mouse_become_51_numbers() -> None:
    mouse = CSGOActions()
    action = mouse.still()
    action[[0, 11]] = 1  # w and the left button
    action[13] = 22
    encoded = mouse.encode(np.stack([action, mouse.still()]))
    assert encoded.shape == (2, 51) and encoded.dtype == np.int8
    assert np.flatnonzero(encoded[0]).tolist() == [0, 11, 13 + 22, 36 + 7]
    assert np.flatnonzero(encoded[1]).tolist() == [13 + 11, 36 + 7]


def test_actions_out_of_the_space_are_refused(checkpoints: dict[str, Path]) -> None:
    env = gym.make("Vid2World-CSGO-v0", checkpoint=checkpoints["csgo"], disable_env_checker=True, **QUICK)
    env.reset(seed=0, options={"frames": recorded_frames("csgo", 1)})
    bad = CSGOActions().still()
    bad[13] = 23
    with pytest.raises(InvalidAction, match=r"element 13 = 23 is out of bounds"):
        env.step(bad)
    with pytest.raises(InvalidAction, match=r"expected shape \(15,\)"):
        env.step(np.zeros(51, np.int64))


def small_world(path: Path, norm: TemporalNorm) -> WorldModel:
    """The same layout with frames of 32x64 and a window of 4, for tests of many steps."""
    layout = PublishedLayout((32, 64), window=4)
    model = load(path, PublishedOptions(v2w_env.DATASETS["recon"].actions, layout=layout))
    model.set_temporal_norm(norm)
    return model


def noise_frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 64, 3), np.uint8)


@pytest.mark.parametrize("norm", ["clip", "prefix", "frame"])
def test_batched_rows_are_those_of_single_environments(checkpoints: dict[str, Path], norm: TemporalNorm) -> None:
    """Also where one sub-environment starts later: recomputed windows then differ in length."""
    model = small_world(checkpoints["recon"], norm)
    settings: dict[str, Any] = {"checkpoint": model, "observation": "latent", "num_sampling_steps": 2}
    late, between = noise_frames(1, seed=1), np.zeros((2, 3), np.float32)
    vector = gym.make_vec("Vid2World-v0", num_envs=2, **settings)
    vector.reset(seed=5, options={"frames": noise_frames(3), "actions": between})
    vector.reset(options={"frames": late, "reset_mask": np.array([False, True])}, seed=5)
    actions = np.random.default_rng(1).uniform(-1, 1, (5, 2, 3)).astype(np.float32)
    batched = [vector.step(action)[0] for action in actions]
    starts: list[dict[str, Any]] = [{"frames": noise_frames(3), "actions": between}, {"frames": late}]
    for row, options in enumerate(starts):
        env = gym.make("Vid2World-v0", **settings)
        env.reset(seed=5 + row, options=options)
        for action, expected in zip(actions[:, row], batched, strict=True):
            np.testing.assert_allclose(env.step(action)[0], expected[row], atol=1e-2)


def test_streaming_is_chosen_at_make(checkpoints: dict[str, Path]) -> None:
    def world(**settings: str) -> WorldModel:
        env = gym.make("Vid2World-RT1-v0", checkpoint=checkpoints["rt1"], **QUICK, **settings).unwrapped
        assert isinstance(env, v2w_env.Vid2WorldEnv)
        return env.world_model

    exact, streamed = world(), world(temporal_norm="prefix")
    assert exact.recomputes and exact.config.sampling.mode == "reference"
    assert not streamed.recomputes and streamed.config.sampling.mode == "standard"


def test_states_fork_and_restore(checkpoints: dict[str, Path]) -> None:
    model = small_world(checkpoints["recon"], "clip")
    settings: dict[str, Any] = {"checkpoint": model, "observation": "latent", "num_sampling_steps": 2}
    env = v2w_env.Vid2WorldVectorEnv(v2w_env.EnvConfig(**settings))
    env.reset(seed=0, options={"frames": noise_frames(1)})
    action = np.zeros((1, 3), np.float32)
    env.step(action)
    saved, branch = env.get_state(), env.fork(2)
    expected = env.step(action)[0]
    forked = branch.step(np.repeat(action, 2, 0))[0]
    np.testing.assert_allclose(forked, np.repeat(expected, 2, 0), atol=1e-2)
    env.set_state(saved)
    np.testing.assert_array_equal(env.step(action)[0], expected)


def test_starts_from_a_picture_and_from_a_dataset(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "start.png"
    Image.fromarray(recorded_frames("rt1", 1)[0]).save(picture)
    settings = {"checkpoint": checkpoints["rt1"], "observation": "latent", **QUICK}
    env = gym.make("Vid2World-RT1-v0", reset_source=picture, **settings)
    assert env.reset(seed=0)[1]["reset_source"] == "images"
    episodes = tmp_path / "episodes"
    episodes.mkdir()
    for i in range(3):
        actions = np.zeros((5, 13), np.float32)
        np.savez(episodes / f"train_eps_{i:08d}.npz", image=recorded_frames("rt1", 5), action=actions)
    env = gym.make("Vid2World-RT1-v0", reset_source=episodes, **settings)
    info = env.reset(seed=0)[1]
    assert info["reset_source"] == "dataset" and info["reset_episode"] in range(3)
    assert np.isfinite(env.step(env.action_space.sample())[0]).all()
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        gym.make("Vid2World-RT1-v0", reset_source=tmp_path / "broken.png", **settings)


@pytest.mark.parametrize("name", ["RT1", "CSGO", "RECON"])
def test_without_weights_it_says_how_to_get_them(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(*_: object, **settings: object) -> Path:
        assert settings["offline"] is True  # making an environment must not start a download of 5 GB
        raise ValueError("not in the cache")

    monkeypatch.setattr("world_model.checkpoints.download.download", nothing)
    with pytest.raises(MissingArgument, match=f"v2w download {name}.*Vid2World-PushT-v0"):
        gym.make(f"Vid2World-{name}-v0")


def test_a_model_of_another_dataset_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="actions"):
        gym.make("Vid2World-RT1-v0", checkpoint=checkpoints["recon"])


def test_weights_in_half_precision_step_too(checkpoints: dict[str, Path]) -> None:
    half = {"num_sampling_steps": 2, "dtype": "bfloat16"}
    env = gym.make("Vid2World-RT1-v0", checkpoint=checkpoints["rt1"], **half)
    assert isinstance(env.unwrapped, v2w_env.Vid2WorldEnv)
    assert env.unwrapped.world_model.network.stem.weight.dtype == torch.bfloat16
    env.reset(seed=0, options={"frames": recorded_frames("rt1", 1)})
    assert env.step(env.action_space.sample())[0].std() > 0
