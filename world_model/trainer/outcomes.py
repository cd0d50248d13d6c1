"""Pieces of episodes with what came of each action: what a reward head is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from world_model.trainer.latents import EncodedEpisodes


class OutcomeBatch(TypedDict):
    """`b` pieces of up to `t` frames, shorter ones filled up with copies of their last frame.

    latents float32 `[b t c h w]`; imagined, the same as the world model would have them; actions `[b t-1 a]`; rewards
    `[b t-1]`; terminations float `[b t-1]`; known float `[b t-1]`, 0 where a piece has ended.
    """

    latents: Tensor
    imagined: Tensor
    actions: Tensor
    rewards: Tensor
    terminations: Tensor
    known: Tensor


class OutcomeClips(Dataset[OutcomeBatch]):
    """Every piece of `length` frames of some episodes, those included that reach over their beginning or end.

    Of the latter only what lies inside is there. So every step is in equally many pieces, which keeps the share of
    endings what it is: pieces that lie wholly inside would hardly ever show the last step of an episode. Many pieces
    begin with their episode, where nothing has happened yet that the head could not know of.

    Args:
        imagined: latents like those of `episodes`, as the world model predicts them; without, copies of the recorded.
    """

    def __init__(self, episodes: EncodedEpisodes, length: int, imagined: Tensor | None = None) -> None:
        if length < 2:
            raise ValueError(f"sequence: expected 2 frames or more, got {length}")
        assert episodes.rewards is not None and episodes.terminations is not None
        self.episodes = episodes
        self.length = length
        self.imagined = episodes.latents if imagined is None else imagined
        frames = episodes.lengths + 1
        self._first_frame = torch.cumsum(frames, 0) - frames
        numbers, starts = [], []
        for number, count in enumerate(frames.tolist()):
            begin = torch.arange(2 - length, count - 1)
            starts.append(begin)
            numbers.append(torch.full_like(begin, number))
        self._numbers, self._starts = torch.cat(numbers), torch.cat(starts)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> OutcomeBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> OutcomeBatch:
        chosen = torch.as_tensor(indices)
        numbers, starts = self._numbers[chosen], self._starts[chosen]
        ends = torch.minimum(starts + self.length, self.episodes.lengths[numbers] + 1)
        return self._cut(numbers, starts.clamp_min(0), ends)

    def whole(self, batch: int) -> Iterator[OutcomeBatch]:
        """All episodes from beginning to end, `batch` of similar length at a time."""
        for numbers in torch.argsort(self.episodes.lengths, stable=True).split(batch):
            yield self._cut(numbers, torch.zeros_like(numbers), self.episodes.lengths[numbers] + 1)

    def _cut(self, numbers: Tensor, starts: Tensor, ends: Tensor) -> OutcomeBatch:
        """Frames `starts` to `ends - 1` of the episodes `numbers`, as long as the longest of them."""
        episodes = self.episodes
        assert episodes.rewards is not None and episodes.terminations is not None
        longest = int((ends - starts).max())
        inside = torch.minimum(starts[:, None] + torch.arange(longest), ends[:, None] - 1)
        frames = self._first_frame[numbers, None] + inside
        known = starts[:, None] + torch.arange(longest - 1) < ends[:, None] - 1
        # An episode has one action fewer than frames, so action numbers lag by the number of episodes before.
        steps = torch.minimum(inside[:, :-1], ends[:, None] - 2) + (self._first_frame[numbers] - numbers)[:, None]
        return OutcomeBatch(
            latents=episodes.latents[frames].float(),
            imagined=self.imagined[frames].float(),
            actions=episodes.actions[steps],
            rewards=episodes.rewards[steps],
            terminations=episodes.terminations[steps].float(),
            known=known.float(),
        )
