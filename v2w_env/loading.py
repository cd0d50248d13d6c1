"""From settings to the parts of an environment that never change, shared by the environment and all its forks."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from v2w_env.config import EnvConfig
from v2w_env.datasets import DATASETS
from v2w_env.frames import FrameFit
from v2w_env.reset_choice import choose_resets
from v2w_env.resets import ResetSource
from v2w_env.rewards import RewardModel, choose_reward
from v2w_env.spaces import ActionAdapter
from v2w_env.weights import load_model
from world_model.model import SamplingConfig, WorldModel


@dataclass(frozen=True, eq=False)
class World:
    """A loaded world model with everything an environment needs around it.

    Attributes:
        fit: Brings frames from outside (reset options, reset sources, goals) to the model's size.
        reset_source: ``None`` if the checkpoint has no clips and none were given: then ``reset`` needs frames.
    """

    config: EnvConfig
    model: WorldModel
    sampling: SamplingConfig
    actions: ActionAdapter
    fit: FrameFit
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
    model = load_model(config)
    known = None if config.dataset is None else DATASETS[config.dataset]
    fit = FrameFit(model.config.frame_size, known.letterbox if known else None)
    goal = None if config.goal is None else fit(config.goal, "goal", ("h w 3",))
    reward = choose_reward(config.reward, goal, model.reward_head is not None)
    if reward.goal is not None:
        fit(reward.goal, "goal", ("h w 3",))
    return World(
        config=config,
        model=model,
        sampling=model.with_sampling(
            num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale
        ),
        actions=ActionAdapter(model.config.actions, config.action_range, known.encoding if known else None),
        fit=fit,
        reward=reward,
        reset_source=choose_resets(config, model, fit),
        device=model.device,
        observation_space=(
            gym.spaces.Box(0, 255, (*model.config.frame_size, 3), np.uint8)
            if config.observation == "pixels"
            else gym.spaces.Box(-np.inf, np.inf, model.config.latent_shape, np.float32)
        ),
    )
