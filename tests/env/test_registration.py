"""`gym.make` and `gym.make_vec`: ids, settings, time limits, shared weights."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, MissingArgument
from gymnasium.vector import AutoresetMode

import v2w_env
from v2w_env import Vid2WorldEnv, Vid2WorldVectorEnv, registration


def test_make_adds_the_time_limit_as_a_wrapper(world_id: str) -> None:
    env = gym.make(world_id)
    assert isinstance(env.unwrapped, Vid2WorldEnv)
    assert env.spec is not None and env.spec.max_episode_steps == 12
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(12)]
    assert ends == [False] * 11 + [True]


def test_make_vec_truncates_by_itself(world_id: str) -> None:
    env = gym.make_vec(world_id, num_envs=2, max_episode_steps=3)
    assert isinstance(env, Vid2WorldVectorEnv) and env.max_episode_steps == 3
    assert gym.make_vec(world_id, num_envs=2).max_episode_steps == 12  # type: ignore[attr-defined]
    assert gym.make_vec(world_id, max_episode_steps=-1).max_episode_steps is None  # type: ignore[attr-defined]
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3].tolist() for _ in range(4)]
    assert ends == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]


def test_modes_and_vectorization(world_id: str) -> None:
    env = gym.make_vec(world_id, num_envs=2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert gym.make_vec(world_id, autoreset_mode="Disabled").metadata["autoreset_mode"] is AutoresetMode.DISABLED
    sync = gym.make_vec(world_id, num_envs=2, vectorization_mode="sync")
    assert sync.observation_space == env.observation_space
    with pytest.raises(ValueError, match=r"autoreset_mode.*make_vec"):
        gym.make(world_id, autoreset_mode="Disabled")


def test_the_generic_id_takes_any_checkpoint(bundle: Path) -> None:
    env = gym.make("v2w_env:Vid2World-v0", checkpoint=bundle, num_sampling_steps=2, guidance_scale=1.5)
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[0].shape == (40, 40, 3)
    with pytest.raises(MissingArgument, match="checkpoint"):
        gym.make("Vid2World-v0")


def test_the_shipped_id(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = gym.spec("Vid2World-PushT-v0")
    assert spec.max_episode_steps == 300
    assert gym.make("Vid2World-PushT-v0", checkpoint=bundle).spec.max_episode_steps == 300  # type: ignore[union-attr]
    monkeypatch.setattr("v2w_env.weights.BUNDLES", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'pusht' is not in this installation.*checkpoint=FOLDER.*`v2w train`"):
        gym.make("Vid2World-PushT-v0", checkpoint=tmp_path / "pusht")
    assert Path(spec.kwargs["checkpoint"]) == registration.BUNDLES / "pusht"


def test_unknown_settings_name_the_nearest(world_id: str) -> None:
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match="unknown setting 'guidance': did you mean 'guidance_scale'"):
            make(world_id, guidance=2.0)
    with pytest.raises(ValueError, match="did you mean 'reward'"):
        v2w_env.register_world_model("Never-v0", None, settings={"rewards": "none"})
    assert "Never-v0" not in gym.registry


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation": "pixel"}, "observation: expected one of 'pixels', 'latent', got 'pixel'"),
        ({"dtype": "float16"}, "dtype: expected one of None, 'float32', 'bfloat16', got 'float16'"),
        ({"num_sampling_steps": 0}, "num_sampling_steps: expected an integer >= 1, got 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale: expected a finite number"),
        ({"device": "warp"}, "device: expected 'cpu', 'cuda' or 'cuda:N', got 'warp'"),
        ({"reward": "goal"}, "unknown reward 'goal': did you mean 'goal_image'"),
        ({"reward": 3}, "reward: expected 'learned', 'none', 'goal_image', a RewardModel or a callable, got 3"),
        ({"goal": np.zeros((40, 40, 3), np.uint8)}, "goal: only reward='goal_image' takes a goal"),
        ({"reward": "goal_image", "goal": np.zeros((8, 8, 3), np.uint8)}, r"goal: expected shape \[h w 3\] with h=40"),
        ({"reset_source": "no/such/file.npz"}, "reset clips no/such/file.npz"),
        ({"reset_source": np.zeros((2, 8, 8, 3), np.uint8)}, r"reset images: expected shape \[n h w 3\] with h=40"),
        ({"checkpoint": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_bad_settings(world_id: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(world_id, **settings)


def test_bad_vector_settings(world_id: str) -> None:
    for settings, message in (
        ({"num_envs": 0}, "num_envs"),
        ({"max_episode_steps": 0}, "max_episode_steps"),
        ({"autoreset_mode": "Never"}, "AutoresetMode"),
    ):
        with pytest.raises(ValueError, match=message):
            gym.make_vec(world_id, **settings)


def test_environments_share_weights_and_close_frees_them(world_id: str) -> None:
    gc.collect()
    first, second = gym.make(world_id), gym.make_vec(world_id, num_envs=2)
    first.reset(seed=0)
    model = weakref.ref(first.unwrapped._vector._world.model)  # type: ignore[attr-defined, union-attr]
    assert second._world.model is model()  # type: ignore[attr-defined]
    first.close()
    first.close()
    second.reset(seed=0)
    second.close()
    gc.collect()
    assert model() is None
    with pytest.raises(ClosedEnvironmentError):
        first.unwrapped.reset()
    assert first.unwrapped.observation_space.shape == (40, 40, 3)


def test_compile_is_passed_on(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes minutes; that it is asked for, once per loaded model, is what matters here."""
    calls = []
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: calls.append(type(self).__name__))
    envs = [gym.make("Vid2World-v0", checkpoint=bundle, compile=True) for _ in range(2)]
    assert calls == ["CausalUNet"] and len(envs) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_does_not_change_the_noise(world_id: str) -> None:
    frames = []
    for device in ("cpu", "cuda"):
        env = gym.make_vec(world_id, num_envs=2, device=device, dtype="float32", reward="goal_image")
        env.reset(seed=0, options={"goal": np.zeros((40, 40, 3), np.uint8)})
        frames.append(env.step(np.full((2, 2), 100.0))[0].astype(int))
    assert np.abs(frames[0] - frames[1]).max() <= 2


def test_bfloat16(world_id: str) -> None:
    env = gym.make_vec(world_id, num_envs=2, dtype="bfloat16")
    env.reset(seed=0)
    observation = env.step(env.action_space.sample())[0]
    assert observation.dtype == np.uint8


def test_render_modes(world_id: str) -> None:
    env = gym.make(world_id, render_mode="rgb_array", observation="latent")
    assert env.metadata["render_fps"] == 10.0
    observation, _ = env.reset(seed=0)
    assert observation.shape == (4, 10, 10) and observation.dtype == np.float32
    assert env.observation_space.contains(observation)
    assert env.render().shape == (40, 40, 3)  # type: ignore[union-attr]
    vector = gym.make_vec(world_id, num_envs=2, render_mode="rgb_array")
    observations, _ = vector.reset(seed=0)
    frames = vector.render()
    assert isinstance(frames, tuple) and np.array_equal(np.stack(frames), observations)
    silent = gym.make_vec(world_id, num_envs=2)
    silent.reset()
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert silent.render() is None


def test_importing_registers_without_loading_torch() -> None:
    code = (
        "import sys, gymnasium, v2w_env; "
        "assert 'Vid2World-PushT-v0' in gymnasium.registry and 'Vid2World-v0' in gymnasium.registry; "
        "print('torch' in sys.modules)"
    )
    root = Path(v2w_env.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
