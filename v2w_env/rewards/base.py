"""What a reward model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Transition:
    """One imagined step of ``n`` sub-environments, seen from its end.

    Attributes:
        latents: float ``[n c h w]``, the new frames' latents.
        actions: ``[n *shape]``, the actions that led to them, in the simulator's units.
        elapsed_steps: int64 ``[n]``, steps since reset, this one included.
        frames: uint8 ``[n h w 3]``, the new frames; ``None`` if neither the reward model nor anybody else needs them.
        goals: per sub-environment, as ``goal_space`` asks: uint8 ``[n h w 3]``, latents ``[n c h w]`` or ``None``.
    """

    latents: Tensor
    actions: np.ndarray
    elapsed_steps: np.ndarray
    frames: np.ndarray | None = None
    goals: Tensor | None = None


@dataclass(frozen=True, eq=False)
class RewardOutput:
    """What :class:`RewardModel` makes of ``n`` steps.

    Attributes:
        rewards: float64 ``[n]``.
        terminated: bool ``[n]``.
        info: arrays ``[n ...]`` to report.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    info: dict[str, np.ndarray] = field(default_factory=dict)


class RewardModel(ABC):
    """Judges imagined steps. One object serves an environment and all its forks, so it keeps no state per episode.

    Attributes:
        needs_frames: Whether :meth:`evaluate` looks at ``frames`` (with latent observations decoding costs extra).
        goal_space: In what form goals reach :meth:`evaluate`; ``"none"`` if the model takes no goal.
        goal: uint8 ``[h w 3]``, used where ``reset`` is given no other.
    """

    needs_frames: bool = True
    goal_space: Literal["none", "pixels", "latent"] = "none"
    goal: np.ndarray | None = None

    @abstractmethod
    def evaluate(self, transition: Transition) -> RewardOutput:
        """Rewards and terminations of one step."""
