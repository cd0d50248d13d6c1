"""From settings to the parts of an environment that never change, shared by the environment and all its forks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gymnasium as gym
import numpy as np
import torch

from v2w_env.config import EnvConfig
from v2w_env.frames import check_frames
from v2w_env.resets import EpisodeSource, ImageSource, ResetSource
from v2w_env.rewards import RewardModel, choose_reward
from v2w_env.spaces import ActionAdapter
from world_model import bundle
from world_model.model import SamplingConfig, WorldModel

# Two environments made from one checkpoint share its weights; the last one to close frees them.
_loaded: WeakValueDictionary[tuple[Any, ...], WorldModel] = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class World:
    """A loaded world model with everything an environment needs around it.

    Attributes:
        reset_source: ``None`` if the checkpoint has no clips and none were given: then ``reset`` needs frames.
    """

    config: EnvConfig
    model: WorldModel
    sampling: SamplingConfig
    actions: ActionAdapter
    reward: RewardModel
    reset_source: ResetSource | None
    device: torch.device
    observation_space: gym.spaces.Box


def load_world(config: EnvConfig) -> World:
    """Load the checkpoint and choose rewards, resets and spaces.

    Raises:
        gymnasium.error.MissingArgument: No checkpoint was named.
        ValueError: The checkpoint cannot be read, or a setting does not fit it; the message names it.
    """
    model = _load_model(config)
    frame_size = model.config.frame_size
    reward = choose_reward(config.reward, config.goal)
    if reward.goal is not None:
        check_frames(reward.goal, "goal", ("h w 3",), frame_size)
    return World(
        config=config,
        model=model,
        sampling=model.with_sampling(
            num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale
        ),
        actions=ActionAdapter(model.config.actions, config.action_range),
        reward=reward,
        reset_source=_choose_resets(config, model),
        device=model.device,
        observation_space=(
            gym.spaces.Box(0, 255, (*frame_size, 3), np.uint8)
            if config.observation == "pixels"
            else gym.spaces.Box(-np.inf, np.inf, model.config.latent_shape, np.float32)
        ),
    )


def _choose_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {name!r}, but this PyTorch sees no CUDA device; use device='cpu'")
    return device


def _load_model(config: EnvConfig) -> WorldModel:
    if isinstance(config.checkpoint, WorldModel):
        if config.device is not None or config.dtype is not None:
            raise ValueError("device, dtype: a loaded WorldModel keeps its own; move it with model.to(...) instead")
        return config.checkpoint.eval()
    if config.checkpoint is None:
        raise gym.error.MissingArgument(
            "checkpoint: name a world model folder or hub id, gym.make(id, checkpoint='path/to/folder')"
        )
    device = _choose_device(config.device)
    folder = bundle.locate(config.checkpoint).resolve()
    dtype = getattr(torch, config.dtype or bundle.load_config(folder).dtype)
    version = (folder / bundle.WEIGHTS).stat().st_mtime_ns
    key = (folder, version, device, dtype, config.compile)
    model = _loaded.get(key)
    if model is None:
        model = WorldModel.from_pretrained(folder, device=device, dtype=dtype)
        if config.compile:
            model.network.compile()
        _loaded[key] = model
    return model


def _choose_resets(config: EnvConfig, model: WorldModel) -> ResetSource | None:
    chosen, spec, context = config.reset_source, model.config.actions, model.config.context_frames
    frame_size = model.config.frame_size
    source: ResetSource
    if chosen is None:
        if config.checkpoint is None or isinstance(config.checkpoint, WorldModel):
            return None
        clips = bundle.load_episodes(bundle.locate(config.checkpoint), spec)
        if clips is None:
            return None
        source = EpisodeSource(clips["frames"], clips["actions"], context)
    elif isinstance(chosen, (str, Path)):
        source = EpisodeSource.from_file(chosen, context)
    elif isinstance(chosen, np.ndarray):
        source = ImageSource(chosen, spec)
    elif isinstance(chosen, ResetSource):
        source = chosen
    else:
        raise ValueError(f"reset_source: expected a ResetSource, a path or uint8 images [n h w 3], got {chosen!r}")
    if isinstance(source, EpisodeSource):
        check_frames(source.frames, "reset clips", ("n t h w 3",), frame_size)
        if source.actions.shape[2:] != spec.shape:
            raise ValueError(f"reset clips: expected actions of shape {spec.shape}, got {source.actions.shape[2:]}")
    elif isinstance(source, ImageSource):
        check_frames(source.images, "reset images", ("n h w 3",), frame_size)
    return source
