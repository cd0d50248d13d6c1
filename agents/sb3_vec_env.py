"""The imagined environment as Stable-Baselines3 expects environments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from agents.errors import DreamError
from agents.spaces import in_bounds, zero_based
from agents.sub_env import SubEnv
from v2w_env.infos import sub_env_info
from v2w_env.state import EnvState
from v2w_env.vector_env import Vid2WorldVectorEnv

Infos = list[dict[str, Any]]


class WorldModelVecEnv(VecEnv):
    """SB3's ``VecEnv`` over a batched imagined environment; nothing is stepped one by one.

    Observations are uint8 frames ``[n h w 3]``, which SB3 transposes itself, or float32 latents ``[n c h w]``. Discrete
    actions count from zero, whatever the simulator counts from. ``seed()`` and ``set_options()`` take effect at the
    next ``reset()``; options are those of :meth:`Vid2WorldVectorEnv.reset`, each sub-environment its own or all the
    same.

    Args:
        env: In SAME_STEP mode: ``gym.make_vec(id, num_envs=n, autoreset_mode="SameStep")`` or :func:`make_dream`.

    Raises:
        ValueError: Another environment, or another mode.
    """

    def __init__(self, env: Vid2WorldVectorEnv) -> None:
        inner = env.unwrapped
        if not isinstance(inner, Vid2WorldVectorEnv):
            raise ValueError(f"env: expected an imagined vector environment from gymnasium.make_vec, got {env}")
        if inner.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"env: expected autoreset_mode='SameStep', which is how SB3 resets, got {inner.autoreset_mode.value!r}"
            )
        self.env = inner
        space, self._offset = zero_based(inner.single_action_space)
        self._views = [SubEnv(inner, i, space) for i in range(inner.num_envs)]
        self._actions: np.ndarray | None = None
        self._state: EnvState | None = None
        self._floats = inner.single_observation_space.dtype != np.uint8
        self.num_steps = 0
        super().__init__(inner.num_envs, inner.single_observation_space, space)
        self.metadata = {**self.metadata, "render_fps": inner.metadata["render_fps"]}

    def reset(self) -> np.ndarray:
        seeds = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        options = _batched_options(self._options)
        observations, infos = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [sub_env_info(infos, row) for row in range(self.num_envs)]
        self._state = self.env.get_state()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = in_bounds(self.action_space, np.asarray(actions)) + self._offset

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, Infos]:
        """One imagined step of all sub-environments.

        Raises:
            DreamError: Rewards or frames are not finite, or the reward refused them. It carries what repeats the step.
        """
        actions, self._actions = self._actions, None
        before = self._state
        if actions is None:
            raise RuntimeError("step_wait: call step_async(actions) first")
        try:
            observations, rewards, terminated, truncated, infos = self.env.step(actions)
        except ValueError as error:
            raise self._failure(f"{error}", None, before, actions) from error
        self._state = self.env.get_state()
        finite = torch.isfinite(self._state.world.latent).flatten(1).all(1).cpu().numpy()
        dones = terminated | truncated
        result = [{} for _ in range(self.num_envs)] if not infos else self._infos(infos, dones)
        for row in np.flatnonzero(dones).tolist():
            final = infos["final_obs"][row]
            result[row]["terminal_observation"] = final
            if self._floats:
                finite[row] &= bool(np.isfinite(final).all())
        for row, info in enumerate(result):
            info["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        for what, good in (("rewards", np.isfinite(rewards)), ("frames", finite)):
            if not good.all():
                rows = np.flatnonzero(~good).tolist()
                raise self._failure(f"imagined {what} of sub-envs {rows} are not finite", rows, before, actions)
        self.num_steps += 1
        return observations, rewards.astype(np.float32), dones, result

    def _infos(self, infos: dict[str, Any], dones: np.ndarray) -> Infos:
        """Each step's own infos; those of resets go where SB3 keeps them."""
        result = []
        for row in range(self.num_envs):
            info = sub_env_info(infos, row)
            if dones[row]:
                final = info.pop("final_info", {})
                del info["final_obs"]
                self.reset_infos[row], info = info, final
            result.append(info)
        return result

    def _failure(self, what: str, rows: list[int] | None, state: EnvState | None, actions: np.ndarray) -> DreamError:
        if state is None:
            raise RuntimeError("step: call reset() first")
        return DreamError(what, self.num_steps, rows, state, actions)

    def context(self, row: int) -> np.ndarray:
        """Observations before the first one of a row's newest episode, ``[t *shape]``, oldest first."""
        return self.env.context(row)

    # ---- what SB3 asks of sub-environments

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each sub-environment; see :class:`SubEnv`."""
        return [getattr(self._views[i], attr_name) for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of sub-environments, or, for all of them at once, of the batch they share.

        Raises:
            ValueError: The batch shares it, but only some sub-environments were named.
        """
        rows = list(self._get_indices(indices))
        if not hasattr(self.env, attr_name):
            for i in rows:
                setattr(self._views[i], attr_name, value)
        elif sorted(rows) == list(range(self.num_envs)):
            setattr(self.env, attr_name, value)
        else:
            raise ValueError(f"set_attr: all sub-envs share {attr_name!r}; set it for all of them (indices=None)")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each sub-environment: ``render``, ``get_state``, ``fork``; see :class:`SubEnv`."""
        views = [self._views[i] for i in self._get_indices(indices)]
        return [getattr(view, method_name)(*method_args, **method_kwargs) for view in views]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The newest frame of each sub-environment, uint8 ``[h w 3]``."""
        if self.env.render_mode is None:
            warnings.warn("get_images: make the environment with render_mode='rgb_array'", stacklevel=2)
            return [None] * self.num_envs
        return list(self.env.render() or ())

    def close(self) -> None:
        self.env.close()
        self._state = None

    # ---- exact save and restore

    def get_state(self) -> tuple[EnvState, int]:
        """Everything that decides what happens next, as a value: :meth:`set_state` takes it."""
        return self.env.get_state(), self.num_steps

    def set_state(self, state: tuple[EnvState, int]) -> None:
        """Continue from ``state``; seeds and options that wait for a reset are dropped."""
        self._state, self.num_steps = state
        self.env.set_state(self._state)
        self._reset_seeds()
        self._reset_options()


def _batched_options(options: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Options per sub-environment, ``[...]`` each, as the batch takes them: ``[n ...]``.

    Raises:
        ValueError: Sub-environments with other options or shapes than the first.
    """
    keys = list(options[0])
    if any(list(one) != keys for one in options):
        raise ValueError(f"options: expected the same keys for every sub-env, {keys}, got {[list(o) for o in options]}")
    batched = {}
    for key in keys:
        values = [np.asarray(one[key]) for one in options]
        if any(value.shape != values[0].shape for value in values):
            shapes = [value.shape for value in values]
            raise ValueError(f"options[{key!r}]: expected the same shape for every sub-env, got {shapes}")
        batched[key] = np.stack(values)
    return batched or None
