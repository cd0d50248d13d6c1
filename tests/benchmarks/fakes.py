"""A world model and recordings made up in memory, for the engine that runs protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from world_model.data.episode import Episode
from world_model.data.recorded import RecordedDataset
from world_model.types import ActionSpec

HEIGHT, WIDTH = 24, 32


@dataclass
class FakeModel:
    """Latents are the frames themselves. A step paints a frame grey: the first number of its action, plus noise.

    `films` counts the films that were begun; at number `stop_at` the run is interrupted.
    """

    noise: float = 0.0
    stop_at: int | None = None
    films: int = 0
    contexts: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode(self, frames: Tensor) -> Tensor:
        return frames

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def start(self, frames: Tensor, actions: Tensor, generator: object, sampling: object = None) -> Tensor:
        if self.stop_at is not None and self.films >= self.stop_at:
            raise KeyboardInterrupt
        self.films += len(frames)
        self.contexts.append(frames.clone())
        assert actions.shape[1] == frames.shape[1] - 1
        return frames[:, -1]

    def rollout(
        self, state: Tensor, actions: Tensor, generator: Sequence[torch.Generator], sampling: object = None
    ) -> tuple[Tensor, Tensor]:
        self.actions.append(actions.clone())
        grey = actions[..., 0, None, None, None].expand(*actions.shape[:2], *state.shape[1:]).clone()
        noise = torch.stack([torch.randn(grey.shape[1:], generator=one) for one in generator])
        latents = grey + self.noise * noise
        return latents[:, -1], latents

    def imagine_clip(
        self, frame: Tensor, actions: Tensor, generator: Sequence[torch.Generator], sampling: object = None
    ) -> Tensor:
        first = torch.zeros_like(frame)[:, None]
        return torch.cat([first, self.rollout(frame, actions, generator)[1]], dim=1)


class FakeReader:
    """Episodes whose frame t is grey as the action before it says, so that `FakeModel` imagines them perfectly."""

    random_access = True

    def __init__(self, lengths: Sequence[int], spec: ActionSpec) -> None:
        self.lengths, self.spec = list(lengths), spec

    def action_spec(self) -> ActionSpec:
        return self.spec

    def fps(self) -> float:
        return 3.0

    def ids(self) -> list[int]:
        return list(range(len(self.lengths)))

    def name(self, index: int) -> str:
        return f"episode_{index:03d}.npz"

    def num_frames(self, index: int) -> int:
        return self.lengths[index]

    def read(self, index: int, start: int, stop: int) -> Episode:
        rng = np.random.default_rng(index)
        actions = rng.uniform(-0.9, 0.9, (self.lengths[index], self.spec.size)).astype(np.float32)
        if self.spec.kind == "multi_binary":
            actions = (actions > 0).astype(np.int8)
        grey = np.concatenate([[0.0], actions[:-1, 0]])
        frames = np.round((grey[:, None, None, None] + 1) * 127.5).astype(np.uint8)
        frames = np.broadcast_to(frames, (len(frames), HEIGHT, WIDTH, 3)).copy()
        return Episode.from_video(frames[start:stop], actions[start : stop - 1], index)

    def fingerprint(self) -> str:
        return "fake"


def fake_dataset(lengths: Sequence[int], size: int = 13) -> RecordedDataset:
    """Recordings of these lengths, all to validate on; `size` 51 makes the actions keys."""
    spec = ActionSpec("multi_binary", (51,), dtype="int8") if size == 51 else _box(size)
    reader = FakeReader(lengths, spec)
    split = {"train": [], "validation": reader.ids(), "test": []}
    return RecordedDataset(Path("fake"), "rt1", reader, spec, 3.0, split)


def _box(size: int) -> ActionSpec:
    return ActionSpec("box", (size,), (-1.0,) * size, (1.0,) * size)
