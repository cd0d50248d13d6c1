"""What goes wrong in a dream, with what is needed to see it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2w_env.state import EnvState
from world_model.bundle import Replacing


class DreamError(ValueError):
    """An imagined step that cannot be learned from.

    Attributes:
        step: Steps of the batch before it, counted from the environment's first reset.
        rows: The sub-environments concerned; ``None`` if the step does not say.
        seeds: The seeds of these (or of all) sub-environments.
        state: The environment before the step.
        actions: ``[n *shape]``, the step's actions: ``env.set_state(state); env.step(actions)`` repeats it.
    """

    def __init__(self, what: str, step: int, rows: list[int] | None, state: EnvState, actions: np.ndarray) -> None:
        chosen = range(state.num_envs) if rows is None else rows
        self.what, self.step, self.rows, self.state, self.actions = what, step, rows, state, actions
        self.seeds = [state.rngs[row].seed for row in chosen]
        self.elapsed_steps = [int(state.elapsed_steps[row]) for row in chosen]
        seeds = self.seeds if rows is not None else f"{self.seeds[0]}.."
        super().__init__(f"{what} at step {step} of the environment (seeds {seeds})")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.step, self.rows, self.state, self.actions)

    def save(self, path: Path) -> Path:
        """Write ``state`` and ``actions`` for ``torch.load(path, weights_only=False)``."""
        with Replacing(path) as temporary:
            torch.save({"state": self.state, "actions": self.actions, "message": str(self)}, temporary)
        return path
