"""Windows of consecutive frames out of episodes, for training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from world_model.data.episode import Episode
from world_model.types import ActionSpec


class Clip(TypedDict):
    """One window.

    frames uint8 [t h w 3]; actions [t-1 a] as `ActionSpec.to_tensor` gives them; the id of the episode; the number of
    the window's first frame in it.
    """

    frames: Tensor
    actions: Tensor
    episode: int
    start: int


class EpisodeSequence(Protocol):
    """Episodes by their position, whole ones or parts, such as `LazyEpisodes`."""

    def __len__(self) -> int: ...

    def id(self, position: int) -> int: ...

    def num_frames(self, position: int) -> int: ...

    def part(self, position: int, start: int, stop: int) -> Episode: ...


class ClipDataset(Dataset[Clip]):
    """Every window of `window` frames of `episodes`, in order: clip i is the same on every machine and in every run.

    Args:
        episodes: where the windows are cut from, a list or `LazyEpisodes`; no window reaches across two of them.
        actions: turns native actions into tensors.
        window: frames per clip, at least 2.
        stride: frames between the starts of neighbouring clips.
        short: what to do with episodes of fewer than `window` frames: "error", or "skip", counted in
            `skipped_episodes`.
        source: named in errors, usually the dataset's folder.

    Raises:
        ValueError: if there is no episode, if one is too short (and `short="error"`), or if all are.
    """

    def __init__(
        self,
        episodes: Sequence[Episode] | EpisodeSequence,
        actions: ActionSpec,
        window: int,
        stride: int = 1,
        short: Literal["error", "skip"] = "error",
        source: str = "the dataset",
    ) -> None:
        if window < 2 or stride < 1:
            raise ValueError(f"expected window >= 2 and stride >= 1, got window={window}, stride={stride}")
        if short not in ("error", "skip"):
            raise ValueError(f"short: expected 'error' or 'skip', got {short!r}")
        if not len(episodes):
            raise ValueError(f"{source} has no episodes to cut windows from; record some with `v2w collect`")
        held = _Held(episodes) if isinstance(episodes, Sequence) else episodes
        lengths = [held.num_frames(position) for position in range(len(held))]
        too_short = [position for position, length in enumerate(lengths) if length < window]
        if too_short and short == "error":
            first = too_short[0]
            raise ValueError(
                f"{source}: {len(too_short)} of {len(lengths)} episodes are shorter than the window of {window} "
                f"frames (first: episode {held.id(first)} with {lengths[first]}). Use a smaller window, or "
                "short='skip' to leave them out"
            )
        if len(too_short) == len(lengths):
            raise ValueError(
                f"{source}: all {len(lengths)} episodes are shorter than the window of {window} frames (longest: "
                f"{max(lengths)}). Use a smaller window"
            )
        self.episodes = held
        self.skipped_episodes = len(too_short)
        self.actions = actions
        self.window = window
        self.stride = stride
        # Episodes too short have no windows and so are never chosen.
        self._ends = np.cumsum([max(0, (length - window) // stride + 1) for length in lengths])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Clip:
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        start = (index - before) * self.stride
        episode = self.episodes.part(number, start, start + self.window)
        return Clip(
            frames=torch.from_numpy(episode.frames.copy()),
            actions=self.actions.to_tensor(episode.actions),
            episode=episode.id,
            start=start,
        )


class _Held:
    """A list of episodes as an `EpisodeSequence`."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.episodes = episodes

    def __len__(self) -> int:
        return len(self.episodes)

    def id(self, position: int) -> int:
        return self.episodes[position].id

    def num_frames(self, position: int) -> int:
        return len(self.episodes[position].frames)

    def part(self, position: int, start: int, stop: int) -> Episode:
        return self.episodes[position].part(start, stop)
