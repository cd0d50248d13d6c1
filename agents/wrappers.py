"""What stands between an environment and the agent, the same around a dream and around the real simulator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.sb3_vec_env import WorldModelVecEnv

if TYPE_CHECKING:
    from agents.algorithms import AgentConfig


def prepared(venv: VecEnv, agent: AgentConfig) -> VecEnv:
    """An environment as the agent trains in it: observations stacked, actions repeated, rewards normalised."""
    venv = stacked(venv, agent.frame_stack)
    if agent.action_repeat > 1:
        venv = RepeatedActions(venv, agent.action_repeat)
    return NormalizedRewards(venv, norm_obs=False, gamma=agent.settings.gamma) if agent.normalize_rewards else venv


def stacked(venv: VecEnv, frame_stack: int) -> VecEnv:
    """The last ``frame_stack`` observations as channels, which come first: ``[n 3k h w]`` or ``[n ck h w]``."""
    images = venv.observation_space.dtype == np.uint8
    if frame_stack > 1:
        venv = FrameStack(venv, frame_stack, channels_order="last" if images else "first")
    return VecTransposeImage(venv) if images else venv


class FrameStack(VecFrameStack):
    """``VecFrameStack`` whose episodes begin with what went before, where the environment knows it, not with zeros.

    A dream that starts in the middle of a recorded episode does: see :meth:`Vid2WorldVectorEnv.context`. So an agent
    sees from the first step on how things move, as it will in the middle of a real game. (The first steps of that have
    nothing before them: their stacks begin with zeros, here and in ``SB3Policy``.) Noise on observations leaves them
    out.
    """

    def reset(self) -> np.ndarray:
        super().reset()
        self._begin(range(self.num_envs))
        return self.stacked_obs.stacked_obs

    def step_wait(self) -> tuple[np.ndarray | dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, dones, infos = super().step_wait()
        self._begin(np.flatnonzero(dones).tolist())
        return observations, rewards, dones, infos

    def _begin(self, rows: Iterable[int]) -> None:
        """Put what went before below the newest observation of ``rows``, whose stacks hold nothing else."""
        source, axis = self.venv.unwrapped, self.stacked_obs.repeat_axis
        if not isinstance(source, WorldModelVecEnv):
            return
        for row in rows:
            before = source.context(row)[1 - self.stacked_obs.n_stack :]
            if len(before):
                past = np.moveaxis(np.concatenate(list(before), axis), axis, 0)
                stack = np.moveaxis(self.stacked_obs.stacked_obs[row], axis, 0)
                newest = len(stack) // self.stacked_obs.n_stack
                stack[-newest - len(past) : -newest] = past


class NormalizedRewards(VecNormalize):
    """``VecNormalize`` for which an episode that is cut short goes on: only what ends one ends its return.

    The scale of rewards is that of the discounted returns which a value function has to tell. An algorithm that looks
    beyond a time limit tells those of whole lives, however short the dreams are.
    """

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = super().step_wait()
        for row in np.flatnonzero(dones):
            if infos[row].get("TimeLimit.truncated", False):
                self.returns[row] = self._unbroken[row]
        return observations, rewards, dones, infos

    def _update_reward(self, reward: np.ndarray) -> None:
        super()._update_reward(reward)
        self._unbroken = self.returns.copy()


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
