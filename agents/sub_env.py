"""One sub-environment of a batched dream, for callers that expect environments one by one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from v2w_env.state import EnvState
from v2w_env.vector_env import Vid2WorldVectorEnv

OF_THE_BATCH = ("num_envs", "single_action_space", "reset", "step", "check_step", "step_native", "set_state", "close")


class SubEnv:
    """A view of sub-environment ``index``: what ``get_attr`` and ``env_method`` of a ``VecEnv`` look at.

    What the batch shares (``render_mode``, ``world_model``, ``max_episode_steps``...) is read from it; attributes set
    here stay with this sub-environment.
    """

    def __init__(self, batch: Vid2WorldVectorEnv, index: int, action_space: gym.Space[Any]) -> None:
        self._batch, self._index = batch, index
        self.observation_space = batch.single_observation_space
        self.action_space = action_space

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in OF_THE_BATCH:
            raise AttributeError(f"a sub-environment of {type(self._batch).__name__} has no attribute {name!r}")
        return getattr(self._batch, name)

    @property
    def unwrapped(self) -> SubEnv:
        return self

    @property
    def np_random(self) -> np.random.Generator:
        """The generator that draws where its episodes start."""
        return self._batch.rng(self._index).numpy

    @property
    def np_random_seed(self) -> int:
        return self._batch.rng(self._index).seed

    def render(self) -> np.ndarray | None:
        """The newest frame, uint8 ``[h w 3]``; ``None`` without ``render_mode="rgb_array"``."""
        frames = self._batch.render()
        return None if frames is None else frames[self._index]

    def get_state(self) -> EnvState:
        """This moment as a value, a state of one sub-environment."""
        return self._batch.get_state().select([self._index])

    def fork(self, n: int, seed: int | None = None) -> Vid2WorldVectorEnv:
        """An environment of ``n`` branches of this moment; see :meth:`Vid2WorldVectorEnv.fork`."""
        return self._batch.fork(n, index=self._index, seed=seed)

    def get_wrapper_attr(self, name: str) -> Any:
        return getattr(self, name)

    def has_wrapper_attr(self, name: str) -> bool:
        return hasattr(self, name)
