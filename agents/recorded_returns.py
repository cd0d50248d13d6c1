"""A recording as an agent would have seen it, and what each of its moments came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.data import RecordedDataset
from world_model.model import WorldModel
from world_model.trainer.latents import encoded


@dataclass(frozen=True, eq=False)
class RecordedReturns:
    """Stacked observations of recorded episodes and the rewards that followed. An episode's last frame, which nothing
    follows, is none of them.

    Attributes:
        frames: Single observations ``[n c h w]``, one episode after the other.
        stacks: int64 ``[m k]``: which frames each stacked observation is made of, oldest first; -1: before the episode.
        rewards: float32 ``[t]`` of each episode.
        ended: Of each episode: it ended by itself, and was not cut short.
    """

    frames: NDArray[Any]
    stacks: NDArray[np.int64]
    rewards: tuple[NDArray[np.float32], ...]
    ended: tuple[bool, ...]

    def __len__(self) -> int:
        """Number of stacked observations."""
        return len(self.stacks)

    def observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Stacked observations ``[len(rows) k*c h w]``."""
        stacks = self.stacks[rows]
        found = self.frames[np.maximum(stacks, 0)]
        found[stacks < 0] = 0
        return found.reshape(len(rows), -1, *found.shape[3:])

    def returns(self, gamma: float, repeat: int) -> NDArray[np.float64]:
        """Discounted rewards from each observation on, ``[m]``, see :func:`discounted`.

        An episode that was cut short is taken to be worth, from there on, what moments of the others are on average.
        """
        whole = [discounted(each, gamma, repeat) for each, ended in zip(self.rewards, self.ended, strict=True) if ended]
        average = float(np.concatenate(whole).mean()) if whole else 0.0
        each = zip(self.rewards, self.ended, strict=True)
        return _joined([discounted(one, gamma, repeat, 0.0 if ended else average) for one, ended in each])

    def so_far(self, gamma: float, repeat: int) -> NDArray[np.float64]:
        """Discounted rewards from the episode's beginning up to each step, ``[m]``, as ``VecNormalize`` counts them."""
        return _joined([discounted(each[::-1], gamma, repeat)[::-1] for each in self.rewards])


def read_returns(
    recorded: RecordedDataset, part: str, frame_stack: int, model: WorldModel | None = None, cache: Path | None = None
) -> RecordedReturns:
    """One part of a recording's split.

    Args:
        recorded: Of frames of the world's size.
        part: Of the split; it may be empty.
        frame_stack: Frames per observation.
        model: Frames are given as its latents, float16; ``None``: as they are, uint8, all of them in memory.
        cache: Where latents are kept, see :func:`world_model.trainer.latents.encoded`; ``None``: nowhere.
    """
    if not recorded.ids(part):
        return RecordedReturns(np.zeros((0, 0, 0, 0)), np.zeros((0, frame_stack), np.int64), (), ())
    if model is not None:
        found = encoded(recorded, part, model.autoencoder, cache, model.device, outcomes=True)
        assert found.rewards is not None and found.terminations is not None
        last = found.lengths.cumsum(0)[:-1].tolist()
        frames = found.latents.numpy()
        rewards, terminations = (np.split(each.numpy(), last) for each in (found.rewards, found.terminations))
    else:
        episodes = recorded.episodes(part)
        frames = np.concatenate([episode.frames for episode in episodes]).transpose(0, 3, 1, 2)
        rewards = [episode.rewards for episode in episodes]
        terminations = [episode.terminations for episode in episodes]
    stacks, first = [], 0
    for each in rewards:
        steps = np.arange(len(each))[:, None] + np.arange(1 - frame_stack, 1)
        stacks.append(np.where(steps >= 0, steps + first, -1))
        first += len(each) + 1
    return RecordedReturns(
        frames, np.concatenate(stacks), tuple(rewards), tuple(bool(each[-1:].any()) for each in terminations)
    )


def discounted(rewards: NDArray[Any], gamma: float, repeat: int, beyond: float = 0.0) -> NDArray[np.float64]:
    """Returns of an agent that decides every ``repeat`` steps and discounts per decision, wherever it begins.

    Args:
        rewards: ``[t]``, of each step.
        gamma: By which what comes a decision later counts less.
        repeat: Steps per decision; the last one may be cut short.
        beyond: What the moment after the last step is worth: 0 where the episode ended.

    Returns:
        float64 ``[t]``: ``sum(rewards[i:i + repeat]) + gamma * returns[i + repeat]``.
    """
    length = len(rewards)
    sums = np.concatenate([np.zeros(1), np.cumsum(rewards, dtype=np.float64)])
    found = np.full(length + 1, float(beyond))
    for step in range(length - 1, -1, -1):
        after = min(step + repeat, length)
        found[step] = sums[after] - sums[step] + gamma * found[after]
    return found[:length]


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *parts])
