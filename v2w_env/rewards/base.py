"""What a reward model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Transition:
    """One imagined step of ``n`` sub-environments, seen from its end.

    Attributes:
        latents: float ``[n c h w]``, the new frames' latents.
        actions: ``[n *shape]``, the actions that led to them, in the simulator's units.
        elapsed_steps: int64 ``[n]``, steps since reset, this one included.
        frames: uint8 ``[n h w 3]``, the new frames; ``None`` if neither the reward model nor anybody else needs them.
        goals: per sub-environment, as ``goal_space`` asks: uint8 ``[n h w 3]``, latents ``[n c h w]`` or ``None``.
        predicted_rewards: float ``[n]``, those of the world model's own head, for reward models with ``needs_head``.
        termination_probabilities: float ``[n]``, likewise.
        generators: of each sub-environment, on the CPU, for reward models that draw; every one has to draw equally
            often in each step. ``None`` where nothing is to be drawn.
    """

    latents: Tensor
    actions: np.ndarray
    elapsed_steps: np.ndarray
    frames: np.ndarray | None = None
    goals: Tensor | None = None
    predicted_rewards: Tensor | None = None
    termination_probabilities: Tensor | None = None
    generators: Sequence[Generator] | None = None


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
        needs_head: Whether it looks at what the world model's reward head predicts.
        goal_space: In what form goals reach :meth:`evaluate`; ``"none"`` if the model takes no goal.
        goal: uint8 ``[h w 3]``, used where ``reset`` is given no other.
    """

    needs_frames: bool = True
    needs_head: bool = False
    goal_space: Literal["none", "pixels", "latent"] = "none"
    goal: np.ndarray | None = None

    @abstractmethod
    def evaluate(self, transition: Transition) -> RewardOutput:
        """Rewards and terminations of one step."""
