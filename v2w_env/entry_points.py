"""What ``gym.make`` and ``gym.make_vec`` call. Apart from the registration, so that importing that stays cheap."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from v2w_env.config import EnvConfig
from v2w_env.env import Vid2WorldEnv
from v2w_env.vector_env import Vid2WorldVectorEnv


def make_env(**settings: Any) -> Vid2WorldEnv:
    """Entry point of ``gym.make``; the settings are the fields of :class:`EnvConfig`."""
    if "autoreset_mode" in settings:
        raise ValueError("autoreset_mode: a single environment does not reset itself; gym.make_vec takes this setting")
    return Vid2WorldEnv(EnvConfig.from_settings(settings))


# What gym.make looks for on an entry point, to wrap render_mode="human" around "rgb_array".
make_env.metadata = Vid2WorldEnv.metadata  # type: ignore[attr-defined]


def make_vector_env(
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **settings: Any,
) -> Vid2WorldVectorEnv:
    """Entry point of ``gym.make_vec``; the settings are the fields of :class:`EnvConfig`."""
    return Vid2WorldVectorEnv(EnvConfig.from_settings(settings), num_envs, max_episode_steps, autoreset_mode)
