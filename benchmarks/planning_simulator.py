"""The true simulator behind the world model's face, so that the very same planner can plan in it: the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from planners import MPC
from planners.history import History
from planners.planner import Planner
from v2w_env.collect.simulator import image_settings, make_simulator
from v2w_env.frames import to_model
from world_model.action_prior import ActionPrior
from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.model import SamplingConfig, WorldModel, WorldModelConfig
from world_model.network.cache import NetworkCache
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.types import Generators, WorldState


@dataclass(frozen=True)
class SimulatorState(WorldState):
    """A state whose "latent" ``[b 5 1 1]`` says where agent and block are, and which remembers how they move.

    Attributes:
        bodies: float64 ``[b 10]``: x, y and velocity of the agent, then of the block, its angle and angular velocity.
    """

    bodies: Tensor | None = None

    def repeat(self, n: int) -> SimulatorState:
        assert self.bodies is not None
        return replace(
            self,
            latent=self.latent.repeat_interleave(n, 0),
            action=self.action.repeat_interleave(n, 0),
            action_mask=self.action_mask.repeat_interleave(n, 0),
            bodies=self.bodies.repeat_interleave(n, 0),
        )

    def select(self, index: Tensor | Sequence[int]) -> SimulatorState:
        assert self.bodies is not None
        rows = torch.as_tensor(index, dtype=torch.long)
        return replace(
            self,
            latent=self.latent[rows],
            action=self.action[rows],
            action_mask=self.action_mask[rows],
            bodies=self.bodies[rows],
        )


class PoseProbe(StateProbe):
    """Reads the simulator's "latents", which are the states themselves."""

    def __init__(self) -> None:
        super().__init__(StateProbeConfig(("pos_agent", "block_pose"), (2, 3), (4,), 4, 1), (5, 1, 1))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        states = latents.flatten(1).float()
        return states, torch.zeros_like(states)


class PushTSimulator:
    """PushT with what a planner uses of a :class:`WorldModel`. To decode is to draw.

    Args:
        like: the world model whose actions and frames it copies.
        action_prior: what suggests actions to planners, if anything.
    """

    recomputes = False
    device = torch.device("cpu")

    def __init__(self, like: WorldModelConfig, action_prior: ActionPrior | None = None) -> None:
        pose = AutoencoderConfig(latent_channels=5, block_out_channels=(8,), patch_size=like.frame_size[0])
        self.config = replace(like, name="simulator", autoencoder=pose, state_probe=None, action_prior=None)
        self.state_probe, self.action_prior = PoseProbe(), action_prior
        self._env: Any = make_simulator(like.source_env, image_settings(like.source_env, like.frame_size)).unwrapped
        self._env.reset(seed=0)

    def as_world_model(self) -> WorldModel:
        """For type checkers: what planners call is all here."""
        return cast(WorldModel, self)

    def encode(self, frames: Tensor, generator: Generators | None = None) -> Tensor:
        """``[b t 3 h w] -> [b t 5 1 1]``, NaN: frames do not say where things are, and are at hand themselves."""
        return frames.new_full((*frames.shape[:2], 5, 1, 1), torch.nan)

    def decode(self, latents: Tensor) -> Tensor:
        """Draw: ``[b t 5 1 1] -> [b t 3 h w]`` in [-1, 1]."""
        frames = []
        for pose in rearrange(latents, "b t p 1 1 -> (b t) p").double().numpy():
            self._put(np.array([*pose[:2], 0, 0, *pose[2:4], 0, 0, pose[4], 0]))
            frames.append(self._env.get_obs())
        return rearrange(to_model(np.stack(frames), self.device), "(b t) c h w -> b t c h w", b=len(latents))

    def state(self, envs: Sequence[Any], action: Tensor) -> SimulatorState:
        """Of PushT environments as they stand, and the actions ``[b a]`` taken last."""
        bodies = np.stack([_bodies(env.unwrapped) for env in envs])
        mask = torch.ones(len(envs))
        return SimulatorState(NetworkCache(), _pose(bodies), action, mask, bodies=torch.from_numpy(bodies))

    def settle(self, state: WorldState, generator: Generators, sampling: SamplingConfig | None = None) -> WorldState:
        return state

    def rollout(
        self, state: WorldState, actions: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        """Play ``actions [b n a]``; returns the last state and the poses ``[b n 5 1 1]``."""
        assert isinstance(state, SimulatorState) and state.bodies is not None
        block = self.config.action_block
        native = rearrange(actions.detach().double().numpy(), "b n (k a) -> b n k a", k=block)
        found = []
        for row, start in zip(native, state.bodies.numpy(), strict=True):
            self._put(start)
            found.append([self._play(part) for part in row])
        bodies = np.array(found)
        poses = _pose(bodies)
        after = replace(state, latent=poses[:, -1], action=actions[:, -1], bodies=torch.from_numpy(bodies[:, -1]))
        return after, poses

    def step(
        self, state: WorldState, action: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        after, poses = self.rollout(state, action[:, None], generator, sampling)
        return after, poses[:, 0]

    def _put(self, bodies: np.ndarray) -> None:
        env = self._env
        env._setup()  # a new space, without the contacts of the candidate before
        env.agent.position, env.agent.velocity = tuple(bodies[:2]), tuple(bodies[2:4])
        env.block.angle = bodies[8]  # before the position, which it moves about the centre of mass
        env.block.position, env.block.velocity = tuple(bodies[4:6]), tuple(bodies[6:8])
        env.block.angular_velocity = bodies[9]
        for body in (env.agent, env.block):  # else shapes are drawn where they were
            env.space.reindex_shapes_for_body(body)

    def _play(self, actions: np.ndarray) -> np.ndarray:
        """The physics of `PushTEnv.step`, without its reward, which costs more; returns where everything is then."""
        env = self._env
        agent, space, dt, k_p, k_v = env.agent, env.space, env.dt, env.k_p, env.k_v
        for x, y in actions.tolist():
            for _ in range(int(1 / (dt * env.control_hz))):
                (at_x, at_y), (v_x, v_y) = agent.position, agent.velocity
                agent.velocity = (
                    v_x + (k_p * (x - at_x) - k_v * v_x) * dt,
                    v_y + (k_p * (y - at_y) - k_v * v_y) * dt,
                )
                space.step(dt)
        return _bodies(env)


class SimulatorMPC(MPC):
    """Plans in the simulator from where the real environments truly are.

    Args:
        envs: the same environments that :meth:`run` is given.
    """

    def __init__(self, planner: Planner[Any], config: Any, simulator: PushTSimulator, envs: Sequence[Any]) -> None:
        super().__init__(planner, config)
        self._simulator, self._envs = simulator, list(envs)

    def _state(self, history: History, rows: list[int], generator: Generators) -> WorldState:
        spec = self._simulator.config.actions
        newest = [history.newest_action(row) for row in rows]
        assert all(action is not None for action in newest)
        action = spec.to_tensor(np.stack(cast(list[np.ndarray], newest)))
        return self._simulator.state([self._envs[row] for row in rows], action)


def _bodies(env: Any) -> np.ndarray:
    agent, block = env.agent, env.block
    return np.array(
        [*agent.position, *agent.velocity, *block.position, *block.velocity, block.angle, block.angular_velocity]
    )


def _pose(bodies: np.ndarray) -> Tensor:
    """``[... 10] -> [... 5 1 1]``."""
    return torch.from_numpy(bodies[..., [0, 1, 4, 5, 8], None, None]).float()
