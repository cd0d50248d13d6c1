"""Making the imagined environment that an agent learns in, with what keeps it from exploiting the model's mistakes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

import v2w_env  # noqa: F401  (registers the imagined environments)
from agents.sb3_vec_env import WorldModelVecEnv
from agents.spaces import best_range
from v2w_env.config import EnvConfig
from v2w_env.loading import World, load_world
from v2w_env.rewards import LearnedReward, RewardModel
from v2w_env.vector_env import Vid2WorldVectorEnv
from v2w_env.weights import load_model
from world_model.config import SamplingConfig
from world_model.model import WorldModel

ENTRY_POINT = "v2w_env.entry_points:make_vector_env"


@dataclass(frozen=True)
class GuardConfig:
    """What makes it hard to live off the model's mistakes. Episodes also start from recorded frames, unless the
    environment's ``reset_source`` says otherwise, and the horizon limits how far a dream can stray from them.

    Attributes:
        history_noise_level: Level (0..999) of the noise under which the world model sees past frames: a dream that
            is never quite the same twice. ``None``: the model's own.
        eta: Fresh noise in every denoising step (0..1), for models that take several. ``None``: the model's own.
        temperature: Scale of the noise that frames are denoised from; above 1 dreams vary more, below 1 less. ``None``:
            the model's own.
        observation_noise: Standard deviation of noise on what the agent sees in training: in grey levels (0..255),
            or in units of latents.
        termination_floor: Least probability at which the learned reward may end an episode: less is what it expects of
            any frame, and noise to a learner. ``None``: none. See :class:`~v2w_env.rewards.LearnedReward`.
    """

    history_noise_level: int | None = None
    eta: float | None = None
    temperature: float | None = None
    observation_noise: float = 0.0
    termination_floor: float | None = None

    def __post_init__(self) -> None:
        if not self.observation_noise >= 0:
            raise ValueError(f"observation_noise: expected a standard deviation >= 0, got {self.observation_noise}")
        self.sampling(SamplingConfig())
        self.reward(LearnedReward())

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """``sampling`` with these guards."""
        changes = {key: getattr(self, key) for key in ("history_noise_level", "eta", "temperature")}
        return replace(sampling, **{key: value for key, value in changes.items() if value is not None})

    def reward(self, reward: RewardModel) -> RewardModel:
        """``reward`` with these guards.

        Raises:
            ValueError: A floor for a reward that is not learned.
        """
        if self.termination_floor is None:
            return reward
        if not isinstance(reward, LearnedReward):
            raise ValueError(
                f"guards.termination_floor: only reward='learned' has one, this is {type(reward).__name__}"
            )
        return LearnedReward(reward.termination, reward.threshold, self.termination_floor)


@dataclass(frozen=True, eq=False)
class Dream:
    """A loaded world, from which any number of environments can be made.

    Attributes:
        world: The world model with its rewards, resets and spaces.
        horizon: Steps after which episodes are truncated.
    """

    world: World
    horizon: int

    def make(
        self, num_envs: int, mode: AutoresetMode = AutoresetMode.SAME_STEP, guards: GuardConfig | None = None
    ) -> Vid2WorldVectorEnv:
        """A batch of imagined environments; they share the weights."""
        world = self.world
        if guards is not None:
            world = replace(world, sampling=guards.sampling(world.sampling), reward=guards.reward(world.reward))
        return Vid2WorldVectorEnv(world.config, num_envs, self.horizon, mode, world)


def load_dream(env_id: str, env_kwargs: Mapping[str, Any] | None = None, horizon: int | None = None) -> Dream:
    """Load what ``gymnasium.make_vec(env_id, **env_kwargs)`` would, once for all environments that are made of it.

    Unless ``action_range`` is given, a bounded Box of actions is scaled to [-1, 1].

    Args:
        env_id: Id of an imagined environment; ``"module:id"`` imports the module first.
        env_kwargs: Fields of :class:`~v2w_env.config.EnvConfig`.
        horizon: Steps per episode at most; ``None`` takes those that the id is registered with.

    Raises:
        ValueError: No imagined environment, an unknown setting, or no horizon.
    """
    spec = _spec(env_id)
    limit = spec.max_episode_steps if horizon is None else horizon
    if limit is None or limit < 1:
        raise ValueError(f"horizon: expected at least 1 step per episode for {env_id}, got {limit}; set horizon=300")
    config = _config(spec, env_kwargs)
    model = load_model(config)  # the world below shares it
    if "action_range" not in {*spec.kwargs, *(env_kwargs or {})}:
        config = replace(config, action_range=best_range(model.config.actions))
    return Dream(load_world(config), limit)


def load_dreamer(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> WorldModel:
    """Only the world model of an imagined environment."""
    return load_model(_config(_spec(env_id), env_kwargs))


def make_dream(
    env_id: str,
    num_envs: int = 32,
    env_kwargs: Mapping[str, Any] | None = None,
    horizon: int | None = None,
    guards: GuardConfig | None = None,
) -> WorldModelVecEnv:
    """An imagined environment for Stable-Baselines3: ``PPO("CnnPolicy", make_dream("Vid2World-PushT-v0"))``.

    See :func:`load_dream` for the arguments and errors.
    """
    return WorldModelVecEnv(load_dream(env_id, env_kwargs, horizon).make(num_envs, guards=guards))


def _config(spec: EnvSpec, env_kwargs: Mapping[str, Any] | None) -> EnvConfig:
    return EnvConfig.from_settings({**spec.kwargs, **(env_kwargs or {})})


def _spec(env_id: str) -> EnvSpec:
    module, colon, name = env_id.rpartition(":")
    if colon:
        importlib.import_module(module)
    spec = gym.spec(name)
    if spec.vector_entry_point != ENTRY_POINT:
        raise ValueError(f"env.id: expected an imagined environment such as Vid2World-PushT-v0, got {env_id}")
    return spec
