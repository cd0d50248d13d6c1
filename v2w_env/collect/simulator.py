"""Making the environment to record from its id."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import gymnasium as gym

from v2w_env.collect.frames import image_key


def image_settings(env_id: str, frame_size: tuple[int, int]) -> dict[str, Any]:
    """What to give `gymnasium.make` for images of a size `(height, width)`, of environments that can be told; else
    nothing."""
    if env_id != "gym_pusht/PushT-v0":
        return {}
    height, width = frame_size
    return {"obs_type": "pixels", "observation_width": width, "observation_height": height}


def make_simulator(env_id: str, env_kwargs: dict[str, Any]) -> gym.Env:
    """`gymnasium.make`, rendering to arrays where the environment has no image observation of its own.

    Gymnasium does not discover installed environments; an id "namespace/Name-v0" is given a chance by importing a
    module called `namespace`, as most packages (gym_pusht among them) register themselves on import.

    Raises:
        ValueError: if the id is unknown or its package is missing, or it takes other arguments; says what to do.
    """
    namespace, slash, _ = env_id.partition("/")
    unregistered = slash and namespace.isidentifier() and env_id not in gym.registry
    if unregistered and importlib.util.find_spec(namespace) is not None:
        importlib.import_module(namespace)
    try:
        env = gym.make(env_id, **env_kwargs)
        if image_key(env.observation_space) is None and "render_mode" not in env_kwargs:
            env.close()
            env = gym.make(env_id, render_mode="rgb_array", **env_kwargs)
    except (gym.error.Error, ImportError) as error:
        raise ValueError(
            f"env_id: cannot make {env_id!r} ({error}). Install its package (for PushT: pip install "
            "'vid2world-gym[sim]'), or name the module that registers it: env_id='module:Name-v0'"
        ) from error
    except TypeError as error:
        raise ValueError(f"env_kwargs: {env_id!r} does not take {env_kwargs} ({error})") from error
    return env
