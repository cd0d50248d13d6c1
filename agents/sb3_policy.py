"""A trained SB3 agent as a policy: it gets what it saw in training, made of single frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from agents.spaces import AgentActions
from world_model.config import WorldModelConfig

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Encode = Callable[[np.ndarray], np.ndarray]


class SB3Policy:
    """Stacks the frames of each row, asks the agent, and turns its actions into the simulator's units.

    What the agent sees is read from its observation space: frames ``[3k h w]`` or latents ``[ck h w]``, the last ``k``
    of them with the oldest first and, as in ``VecFrameStack``, zeros before the episode began. An agent that learned to
    repeat its actions (``AgentConfig.action_repeat``) does so here.

    Args:
        model: Any SB3 model.
        world: Configuration of the world model it was trained in, or of one with the same frames and actions.
        encode: Frames uint8 ``[n h w 3]`` -> latents float32 ``[n c h w]``; only agents that see latents need it.
        deterministic: Take the likeliest action instead of sampling.

    Raises:
        ValueError: The agent sees something else, or acts in another space.
    """

    def __init__(
        self, model: BaseAlgorithm, world: WorldModelConfig, encode: Encode | None = None, deterministic: bool = True
    ) -> None:
        self.model, self.deterministic = model, deterministic
        self._actions = AgentActions(model.action_space, world.actions)
        space = model.observation_space
        pixels, latents = (3, *world.frame_size), world.latent_shape
        self._one = pixels if space.dtype == np.uint8 else latents
        fits = isinstance(space, spaces.Box) and len(space.shape) == 3 and space.shape[1:] == self._one[1:]
        if not fits or space.shape[0] % self._one[0]:  # type: ignore[index]
            raise ValueError(
                f"agent: expected one that sees stacked frames of {pixels} or latents of {latents} (channels, height, "
                f"width), got {space}; was it trained in another world model?"
            )
        if self._one is latents and encode is None:
            raise ValueError("encode: this agent sees latents, so the policy needs frames -> latents")
        self._encode = encode if self._one is latents else None
        self._stack = np.zeros((0, *space.shape), space.dtype)  # type: ignore[misc]
        self._repeat = int(getattr(model, "action_repeat", 1))
        self._age = np.zeros(0, np.int64)  # of each row's action, in steps; 0: it is due
        actions = model.action_space
        self._held = np.zeros((0, *actions.shape), actions.dtype)  # type: ignore[misc]

    def reset(self, rows: Sequence[int]) -> None:
        length = max(rows, default=-1) + 1
        self._stack, self._age, self._held = (_grown(one, length) for one in (self._stack, self._age, self._held))
        self._stack[list(rows)] = 0
        self._age[list(rows)] = 0

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        index, channels = list(rows), self._one[0]
        newest = frames.transpose(0, 3, 1, 2) if self._encode is None else self._encode(frames)
        if newest.shape[1:] != self._one:
            raise ValueError(f"frames: expected {self._one} (channels, height, width) each, got {newest.shape[1:]}")
        seen = np.concatenate([self._stack[index, channels:], newest], axis=1, dtype=self._stack.dtype)
        self._stack[index] = seen
        due = np.flatnonzero(self._age[index] == 0)
        self._age[index] = (self._age[index] + 1) % self._repeat
        if len(due):
            self._held[np.array(index)[due]], _ = self.model.predict(seen[due], deterministic=self.deterministic)
        return self._actions.to_native(self._held[index])


def _grown(rows: np.ndarray, length: int) -> np.ndarray:
    """At least ``length`` rows, new ones zero."""
    missing = max(0, length - len(rows))
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)]) if missing else rows
