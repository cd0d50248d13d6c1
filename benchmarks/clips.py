"""Clips for evaluation: the same ones for the same seed, spread over the episodes of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from world_model.data.episode import Episode
from world_model.types import ActionSpec


@dataclass(frozen=True)
class Clips:
    """Recorded pieces of equal length.

    Attributes:
        frames: uint8 [b t h w 3].
        actions: [b t-1 a], `actions[:, i]` leads from frame i to frame i + 1.
        episodes: id of the episode of each clip.
        starts: index of its first frame in the episode.
    """

    frames: NDArray[np.uint8]
    actions: Tensor
    episodes: tuple[int, ...]
    starts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.episodes)

    def with_actions_of_next(self, after: int) -> Clips:
        """The same clips with the actions from index `after` on taken from the next clip (of another episode)."""
        partner = _partners(self.episodes)
        actions = self.actions.clone()
        actions[:, after:] = self.actions[partner, after:]
        return replace(self, actions=actions)


def draw_clips(episodes: Sequence[Episode], spec: ActionSpec, *, num_clips: int, length: int, seed: int) -> Clips:
    """Draw `num_clips` clips of `length` frames, first one from every episode, then a second one, and so on.

    Which clips are drawn depends only on the episodes and the seed; clips of one episode may overlap in part, but no
    clip is drawn twice.

    Raises:
        ValueError: no episode is long enough, or there are fewer different clips than asked for.
    """
    rng = np.random.default_rng(seed)
    # What is left to draw from each episode, as a shuffled list of starts.
    starts = {
        index: list(rng.permutation(len(episode.frames) - length + 1))
        for index, episode in enumerate(episodes)
        if len(episode.frames) >= length
    }
    available = sum(map(len, starts.values()))
    if available < num_clips:
        raise ValueError(
            f"num_clips: expected at most {available} (the clips of {length} frames that {len(episodes)} episodes "
            f"hold), got {num_clips}; lower num_clips or horizon, or record longer episodes"
        )
    chosen: list[tuple[int, int]] = []
    while len(chosen) < num_clips:
        for index in rng.permutation(list(starts)):
            if starts[index] and len(chosen) < num_clips:
                chosen.append((int(index), int(starts[index].pop())))
    return Clips(
        frames=np.stack([episodes[index].frames[start : start + length] for index, start in chosen]),
        actions=torch.stack(
            [spec.to_tensor(episodes[index].actions[start : start + length - 1]) for index, start in chosen]
        ),
        episodes=tuple(int(episodes[index].id) for index, _ in chosen),
        starts=tuple(start for _, start in chosen),
    )


def _partners(episodes: Sequence[int]) -> list[int]:
    """For each clip the next one, cyclically, that comes from another episode (itself if there is none)."""
    count = len(episodes)
    following = [[(i + step) % count for step in range(1, count)] for i in range(count)]
    return [next((j for j in rest if episodes[j] != episodes[i]), i) for i, rest in enumerate(following)]
