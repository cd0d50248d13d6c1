"""What stands between an environment and the agent, the same around a dream and around the real simulator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

if TYPE_CHECKING:
    from agents.algorithms import AgentConfig


def prepared(venv: VecEnv, agent: AgentConfig) -> VecEnv:
    """An environment as the agent trains in it: observations stacked, actions repeated, rewards normalised."""
    venv = stacked(venv, agent.frame_stack)
    if agent.action_repeat > 1:
        venv = RepeatedActions(venv, agent.action_repeat)
    return VecNormalize(venv, norm_obs=False, gamma=agent.settings.gamma) if agent.normalize_rewards else venv


def stacked(venv: VecEnv, frame_stack: int) -> VecEnv:
    """The last ``frame_stack`` observations as channels, which come first: ``[n 3k h w]`` or ``[n ck h w]``."""
    images = venv.observation_space.dtype == np.uint8
    if frame_stack > 1:
        venv = VecFrameStack(venv, frame_stack, channels_order="last" if images else "first")
    return VecTransposeImage(venv) if images else venv


class RepeatedActions(VecEnvWrapper):
    """Takes each action several times in a row, and adds up what it earns: the agent decides less often, so that it
    tries more than trembling, and what it decides matters more.

    A row whose episode ends before is done, with what it earned until then; the repetitions that are left are the
    first steps of its next episode, and earn nothing. Outside of ``VecFrameStack``, stacked observations are still
    of every step.

    Args:
        repeat: Steps per action.
    """

    def __init__(self, venv: VecEnv, repeat: int) -> None:
        super().__init__(venv)
        self.repeat = repeat
        self._actions: Any = None

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        total, ended, told = rewards.copy(), dones.copy(), list(infos)
        for _ in range(self.repeat - 1):
            observations, rewards, dones, infos = self.venv.step(self._actions)
            total += np.where(ended, 0, rewards)
            told = [old if over else new for old, over, new in zip(told, ended, infos, strict=True)]
            ended |= dones
        return observations, total, ended, told


class _Observations(VecEnvWrapper):
    """Changes observations on their way, terminal ones too."""

    @abstractmethod
    def _change(self, observations: np.ndarray) -> np.ndarray:
        """What the agent gets to see of ``observations``."""

    def reset(self) -> np.ndarray:
        observations = self.venv.reset()
        assert isinstance(observations, np.ndarray)
        return self._change(observations)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray)
        for row in np.flatnonzero(dones):
            if "terminal_observation" in infos[row]:
                infos[row]["terminal_observation"] = self._change(infos[row]["terminal_observation"][None])[0]
        return self._change(observations), rewards, dones, infos


class NoisyObservations(_Observations):
    """Adds normal noise: in grey levels to frames (rounded, kept in 0..255), in their own units to latents.

    Args:
        std: Standard deviation.
        seed: Of the noise; :attr:`rng` is its generator.
    """

    def __init__(self, venv: VecEnv, std: float, seed: int) -> None:
        super().__init__(venv)
        self.std, self.rng = std, np.random.default_rng(seed)

    def _change(self, observations: np.ndarray) -> np.ndarray:
        noise = self.rng.standard_normal(observations.shape, np.float32)
        noisy = observations + np.float32(self.std) * noise
        if observations.dtype == np.uint8:
            return noisy.round().clip(0, 255).astype(np.uint8)
        return noisy


class LatentObservations(_Observations):
    """Frames uint8 ``[n h w 3]`` as the world model's latents, float32 ``[n c h w]``.

    Args:
        encode: One into the other.
        shape: ``(c, h, w)``.
    """

    def __init__(self, venv: VecEnv, encode: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int, int]) -> None:
        super().__init__(venv, observation_space=spaces.Box(-np.inf, np.inf, shape, np.float32))
        self._encode: Any = encode

    def _change(self, observations: np.ndarray) -> np.ndarray:
        return self._encode(observations)
