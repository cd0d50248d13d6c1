"""What ``gym.make`` and ``gym.make_vec`` call. Apart from the registration, so that importing that stays cheap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode

from v2w_env.config import EnvConfig
from v2w_env.env import Vid2WorldEnv
from v2w_env.registration import BUNDLES
from v2w_env.vector_env import Vid2WorldVectorEnv


def make_env(**settings: Any) -> Vid2WorldEnv:
    """Entry point of ``gym.make``; the settings are the fields of :class:`EnvConfig`."""
    if "autoreset_mode" in settings:
        raise ValueError("autoreset_mode: a single environment does not reset itself; gym.make_vec takes this setting")
    return Vid2WorldEnv(_config(settings))


# What gym.make looks for on an entry point, to wrap render_mode="human" around "rgb_array".
make_env.metadata = Vid2WorldEnv.metadata  # type: ignore[attr-defined]


def make_vector_env(
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **settings: Any,
) -> Vid2WorldVectorEnv:
    """Entry point of ``gym.make_vec``; the settings are the fields of :class:`EnvConfig`."""
    return Vid2WorldVectorEnv(_config(settings), num_envs, max_episode_steps, autoreset_mode)


def _config(settings: Mapping[str, Any]) -> EnvConfig:
    config = EnvConfig.from_settings(settings)
    path = config.checkpoint
    if isinstance(path, (str, Path)) and Path(path).parent == BUNDLES and not Path(path).is_dir():
        raise FileNotFoundError(
            f"the shipped world model {Path(path).name!r} is not in this installation ({path} is missing): reinstall "
            "the package, train it with `v2w collect` and `v2w train`, or pass checkpoint='path/to/a/world/model'"
        )
    return config
