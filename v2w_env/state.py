"""Everything that changes in an imagined environment, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from v2w_env.rng import RngState
from world_model.types import WorldState


@dataclass(frozen=True, eq=False)
class EnvState:
    """A moment of ``n`` sub-environments: what ``get_state`` gives and ``set_state`` takes. Treat it as read-only.

    Attributes:
        world: What the world model remembers; ``world.latent`` ``[n c h w]`` is the newest frame.
        frames: uint8 ``[n h w 3]``, the newest frame as shown; ``None`` where frames are not decoded.
        goals: Goals per sub-environment in the reward model's form, or ``None``.
        elapsed_steps: int64 ``[n]``, steps since reset.
        ended: bool ``[n]``, episodes that are over and wait for their reset.
        rngs: The random streams of each sub-environment.
    """

    world: WorldState
    frames: np.ndarray | None
    goals: torch.Tensor | None
    elapsed_steps: np.ndarray
    ended: np.ndarray
    rngs: tuple[RngState, ...]

    @property
    def num_envs(self) -> int:
        return len(self.rngs)

    def repeat(self, n: int) -> EnvState:
        """Each sub-environment ``n`` times in a row; shares memory where it can."""
        return EnvState(
            self.world.repeat(n),
            None if self.frames is None else self.frames.repeat(n, axis=0),
            None if self.goals is None else self.goals.repeat_interleave(n, dim=0),
            self.elapsed_steps.repeat(n),
            self.ended.repeat(n),
            tuple(rng for rng in self.rngs for _ in range(n)),
        )

    def select(self, index: Sequence[int]) -> EnvState:
        """The sub-environments named by ``index``, in that order."""
        rows = list(index)
        return EnvState(
            self.world.select(rows),
            None if self.frames is None else self.frames[rows],
            None if self.goals is None else self.goals[rows],
            self.elapsed_steps[rows],
            self.ended[rows],
            tuple(self.rngs[row] for row in rows),
        )

    def check_fits(self, num_envs: int, latent_shape: tuple[int, ...], needs_goals: bool) -> None:
        """Raise :class:`ValueError` unless an environment like this can continue from here."""
        if self.num_envs != num_envs:
            raise ValueError(
                f"set_state: expected a state of {num_envs} sub-envs, got {self.num_envs}; use "
                "state.select(index) or state.repeat(n)"
            )
        got = tuple(self.world.latent.shape[1:])
        if got != tuple(latent_shape):
            raise ValueError(
                f"set_state: expected latents of shape {latent_shape}, got {got}; the state is from another world model"
            )
        if needs_goals and self.goals is None:
            raise ValueError("set_state: this environment's reward needs goals, but the state has none")
