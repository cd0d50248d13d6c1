"""A training that was interrupted, exactly as it was: the agent, its environment and every random stream.

A checkpoint is a folder that appears whole or not at all. It is taken between two rollouts, when all that matters is in
known places: the model's ``.zip`` (weights, optimizers, counters), the wrappers' own state, the world's, the replay
buffer, and the streams of Python, NumPy, torch and of every sub-environment.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecMonitor

from agents import randomness
from agents.algorithms import AgentConfig, load_trained
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import NoisyObservations, NormalizedRewards
from world_model.bundle import Replacing

MODEL, STATE, REPLAY = "model.zip", "state.pt", "replay.npz"
# What a saved agent need not carry: the observations it stopped at and the log of its last episodes.
PASSING = ("_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer")
ATTRIBUTES: dict[type, tuple[str, ...]] = {
    VecMonitor: ("episode_returns", "episode_lengths", "episode_count"),
    NormalizedRewards: ("ret_rms", "returns", "old_reward", "old_obs"),
}
REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_agent(model: BaseAlgorithm, path: Path) -> Path:
    """Write an agent that plain SB3 loads: ``PPO.load(path)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Replacing(path) as temporary:
        model.save(temporary, exclude=PASSING)
    return path


def save_checkpoint(folder: Path, model: BaseAlgorithm, notes: dict[str, Any]) -> None:
    """Replace the checkpoint ``folder``; ``notes`` come back from :func:`load_checkpoint`."""
    partial = _beside(folder, "tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save(partial / MODEL)
    replay = getattr(model, "replay_buffer", None)
    if replay is not None:
        _save_replay(partial / REPLAY, replay)
    env = model.get_env()
    assert env is not None
    state = {
        "notes": notes,
        "observations": _tensor(model._last_obs),
        "environment": [_state_of(layer) for layer in _layers(env)],
        "action_space": model.action_space.np_random.bit_generator.state,
        "log": [dict(getattr(model.logger, name)) for name in ("name_to_value", "name_to_count", "name_to_excluded")],
        "streams": randomness.streams(),
    }
    torch.save(state, partial / STATE)
    old = _beside(folder, "old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path | None:
    """``folder`` if it holds a checkpoint, also where a kill came between the old one and the new."""
    old = _beside(folder, "old")
    if not folder.exists() and old.exists():
        os.replace(old, folder)
    return folder if folder.exists() else None


def read_notes(folder: Path) -> dict[str, Any]:
    """The ``notes`` of a checkpoint."""
    notes: dict[str, Any] = _read(folder)["notes"]
    return notes


def load_model(folder: Path, config: AgentConfig, env: VecEnv, device: str) -> BaseAlgorithm:
    """The model of a checkpoint in front of ``env``, made as the one that was saved; :func:`restore` does the rest."""
    model = load_trained(config, folder / MODEL, env, device)
    if (folder / REPLAY).exists():
        assert isinstance(model.replay_buffer, ReplayBuffer)  # type: ignore[attr-defined]
        _load_replay(folder / REPLAY, model.replay_buffer)  # type: ignore[attr-defined]
    return model


def restore(folder: Path, model: BaseAlgorithm) -> None:
    """Put environment, logger and random streams back, the streams last: call it right before ``learn``."""
    state, env = _read(folder), model.get_env()
    assert env is not None
    for layer, saved in zip(_layers(env), state["environment"], strict=True):
        _set_state(layer, saved)
    # Restored with its strides: a convolution may round differently where memory is laid out differently.
    model._last_obs = state["observations"].numpy()
    model.action_space.np_random.bit_generator.state = state["action_space"]
    for name, saved in zip(("name_to_value", "name_to_count", "name_to_excluded"), state["log"], strict=True):
        getattr(model.logger, name).update(saved)
    randomness.restore(state["streams"])


def _read(folder: Path) -> dict[str, Any]:
    try:
        # Written by this module; it holds values of this package's classes.
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder}: not a readable checkpoint ({error}); remove it to start afresh") from error
    return state


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f"{folder.name}.{ending}")


def _layers(env: VecEnv) -> Iterator[VecEnv]:
    """An environment and all it wraps, outermost first."""
    while isinstance(env, VecEnvWrapper):
        yield env
        env = env.venv
    yield env


def _state_of(layer: VecEnv) -> Any:
    if isinstance(layer, WorldModelVecEnv):
        return layer.get_state()
    if isinstance(layer, VecFrameStack):
        return layer.stacked_obs.stacked_obs
    if isinstance(layer, NoisyObservations):
        return layer.rng.bit_generator.state
    return {name: getattr(layer, name) for name in ATTRIBUTES.get(type(layer), ())}


def _set_state(layer: VecEnv, saved: Any) -> None:
    if isinstance(layer, WorldModelVecEnv):
        layer.set_state(saved)
    elif isinstance(layer, VecFrameStack):
        layer.stacked_obs.stacked_obs = saved
    elif isinstance(layer, NoisyObservations):
        layer.rng.bit_generator.state = saved
    else:
        for name, value in saved.items():
            setattr(layer, name, value)


def _tensor(observations: Any) -> torch.Tensor:
    assert isinstance(observations, np.ndarray)
    return torch.from_numpy(observations)


def _save_replay(path: Path, buffer: ReplayBuffer) -> None:
    size = buffer.size()
    arrays = {name: getattr(buffer, name)[:size] for name in REPLAYED}
    np.savez(path, pos=buffer.pos, full=buffer.full, **arrays)


def _load_replay(path: Path, buffer: ReplayBuffer) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        buffer.pos, buffer.full = int(arrays["pos"]), bool(arrays["full"])
        for name in REPLAYED:
            saved = arrays[name]
            getattr(buffer, name)[: len(saved)] = saved
