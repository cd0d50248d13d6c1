"""The last frames and actions of real environments, from which the world model starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from v2w_env.resets import Start
from v2w_env.starting import begin
from world_model.model import SamplingConfig, WorldModel
from world_model.types import Generators, WorldState


class History:
    """What was seen and done in ``b`` environments.

    Args:
        frames: uint8 ``[b h w 3]``, the newest frames.
        limit: frames that are kept.
        earlier: what led to them: one :class:`~v2w_env.resets.Start` each, of frames before the newest and as many
            actions, the last of which led to the newest.
    """

    def __init__(self, frames: np.ndarray, limit: int, earlier: Sequence[Start] | None = None) -> None:
        if limit < 1:
            raise ValueError(f"context_frames: expected 1 or more, got {limit}")
        if earlier is not None and len(earlier) != len(frames):
            raise ValueError(f"history: expected one start per environment ({len(frames)}), got {len(earlier)}")
        self._frames = [deque([frame], maxlen=limit) for frame in frames]
        self._actions: list[deque[np.ndarray]] = [deque(maxlen=limit - 1) for _ in frames]
        for row, start in enumerate(earlier or ()):
            if len(start.frames) != len(start.actions) or start.frames.shape[1:] != frames.shape[1:]:
                raise ValueError(
                    f"history: expected frames [t {frames.shape[1:]}] and t actions in environment {row}, got "
                    f"{start.frames.shape} and {start.actions.shape}"
                )
            self._frames[row] = deque([*start.frames, frames[row]], maxlen=limit)
            self._actions[row].extend(start.actions)

    def add(self, rows: Sequence[int], frames: np.ndarray, actions: np.ndarray) -> None:
        """Frames ``[m h w 3]`` that actions ``[m *shape]`` led to."""
        for row, frame, action in zip(rows, frames, actions, strict=True):
            self._frames[row].append(frame)
            self._actions[row].append(action)

    def newest_action(self, row: int) -> np.ndarray | None:
        """The action taken last, ``[*shape]``."""
        return self._actions[row][-1] if self._actions[row] else None

    def state(
        self, model: WorldModel, rows: Sequence[int], generators: Generators, sampling: SamplingConfig | None
    ) -> WorldState:
        """The world model's state at the newest frames of ``rows``; ``generators`` are all of these rows'."""
        shape = model.config.actions.shape
        starts = [Start(np.stack(self._frames[row]), np.array(self._actions[row]).reshape(-1, *shape)) for row in rows]
        each = [generators] * len(starts) if isinstance(generators, torch.Generator) else list(generators)
        with torch.no_grad():
            return begin(model, starts, each, np.arange(len(starts)), len(starts), None, sampling)
