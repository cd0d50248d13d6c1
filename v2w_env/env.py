"""One imagined environment: a view of a vector environment of one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from v2w_env.config import EnvConfig
from v2w_env.infos import sub_env_info
from v2w_env.rng import SubEnvRng
from v2w_env.state import EnvState
from v2w_env.vector_env import Vid2WorldVectorEnv
from world_model.model import WorldModel


class Vid2WorldEnv(gym.Env[np.ndarray, Any]):
    """An imagined environment with the same spaces as the simulator it was learned from.

    Observations are uint8 ``[h w 3]`` (or float32 latents ``[c h w]``). ``gym.make`` adds the time limit as a wrapper;
    that wrapper keeps its own count, which :meth:`set_state` does not rewind.

    Args:
        config: What to load and how to run it.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it per instance)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(self, config: EnvConfig) -> None:
        self._vector = Vid2WorldVectorEnv(config, autoreset_mode=AutoresetMode.DISABLED)
        self.metadata = {**type(self).metadata, "render_fps": self._vector.metadata["render_fps"]}
        self.render_mode = config.render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    # Gymnasium keeps a generator in `_np_random`; here it is the vector environment's, so that there is only one.
    @property
    def _np_random(self) -> np.random.Generator:
        return self._vector.rng(0).numpy

    @_np_random.setter
    def _np_random(self, value: np.random.Generator) -> None:
        self._vector.set_rng(0, SubEnvRng(value))

    @property
    def _np_random_seed(self) -> int:
        return self._vector.rng(0).seed

    @_np_random_seed.setter
    def _np_random_seed(self, value: int) -> None:
        self._vector.rng(0).seed = value

    @property
    def world_model(self) -> WorldModel:
        """The world model behind this environment; environments made from one checkpoint share it."""
        return self._vector.world_model

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the environment's streams; ``None`` continues them.
            options: ``frames`` uint8 ``[t h w 3]``, ``actions`` ``[t-1 *shape]``, ``goal`` uint8 ``[h w 3]``.

        Returns:
            The first observation, and an info that says where the start came from.
        """
        if options is not None and "reset_mask" in options:
            raise ValueError("options['reset_mask']: only vector environments have sub-envs to choose from")
        observations, infos = self._vector.reset(seed=seed, options=options)
        return observations[0], sub_env_info(infos, 0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Imagine one step; raises as :meth:`Vid2WorldVectorEnv.step` does."""
        native = self._vector.check_step(action, ())[None]
        observations, rewards, terminated, truncated, infos = self._vector.step_native(native, np.zeros(1, np.bool_))
        info = sub_env_info(infos, 0)
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> np.ndarray | None:
        """The newest frame, uint8 ``[h w 3]``; ``None`` without ``render_mode="rgb_array"``."""
        frames = self._vector.render()
        return None if frames is None else frames[0]

    def get_state(self) -> EnvState:
        """This moment as a value: exact save and restore with :meth:`set_state`."""
        return self._vector.get_state()

    def set_state(self, state: EnvState) -> None:
        """Continue from ``state`` (of one sub-environment; ``fork.get_state().select([i])`` picks a branch)."""
        self._vector.set_state(state)

    def fork(
        self, n: int, seed: int | None = None, autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
    ) -> Vid2WorldVectorEnv:
        """A vector environment of ``n`` branches of this moment; see :meth:`Vid2WorldVectorEnv.fork`."""
        return self._vector.fork(n, seed=seed, autoreset_mode=autoreset_mode)

    def close(self) -> None:
        self._vector.close()
