"""A dataset with its training episodes twice: as recorded, and left and right exchanged, in frames and in actions.

For worlds that are their own mirror image. It is a fact that a small model would otherwise have to learn from what the
recording happens to hold on either side, and an agent finds the side about which it learned less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.data.episode import Episode
from world_model.data.recorded import EpisodeReader, RecordedDataset
from world_model.types import ActionSpec


def mirrored(recorded: RecordedDataset, actions: Sequence[float]) -> RecordedDataset:
    """The same dataset with a mirrored copy of every training episode; validation and test stay as recorded.

    Args:
        actions: what an action is in the mirror. Discrete actions: the number of the mirrored action for each, so
            `[0, 2, 1]` where 1 and 2 are right and left. Continuous ones: a factor for the distance of each value from
            the middle of its bounds (from 0 where it has none), so `[-1, 1]` where the first is sideways.

    Raises:
        ValueError: for other kinds of actions, or if `actions` does not fit them.
    """
    mirror = action_mirror(recorded.action_spec, actions)
    split = {part: [2 * index for index in ids] for part, ids in recorded.split.items()}
    split["train"] = [index + copy for index in split.get("train", []) for copy in (0, 1)]
    return replace(recorded, reader=MirrorReader(recorded.reader, mirror), split=split)


def action_mirror(spec: ActionSpec, actions: Sequence[float]) -> NDArray[Any]:
    """What native actions are looked up in (discrete) or their distance from the middle is multiplied by (continuous).

    Raises:
        ValueError: see `mirrored`.
    """
    if spec.kind == "discrete":
        first = spec.start[0] if spec.start else 0
        numbers = list(range(first, first + spec.nvec[0]))
        if sorted(actions) != numbers or any(
            actions[int(image) - first] != number for number, image in zip(numbers, actions, strict=True)
        ):
            raise ValueError(
                f"mirror: expected each action's mirror image, {numbers} in an order that undoes itself, got "
                f"{list(actions)}"
            )
        return np.asarray(actions, dtype=spec.dtype)
    if spec.kind == "box":
        if len(actions) != spec.size:
            raise ValueError(f"mirror: expected a factor for each of the {spec.size} values, got {list(actions)}")
        return np.asarray(actions, dtype=np.float64).reshape(spec.shape)
    raise ValueError(f"mirror: expected discrete or continuous actions, got {spec.kind}")


class MirrorReader:
    """Episodes of another reader; `2 * index` is an episode as recorded, `2 * index + 1` its mirror image.

    A mirror image has no infos: nobody says what a position, say, is in the mirror.
    """

    def __init__(self, reader: EpisodeReader, mirror: NDArray[Any]) -> None:
        self.reader = reader
        self.mirror = mirror
        self.random_access = reader.random_access

    def action_spec(self) -> ActionSpec:
        return self.reader.action_spec()

    def fps(self) -> float:
        return self.reader.fps()

    def ids(self) -> list[int]:
        return [2 * index + copy for index in self.reader.ids() for copy in (0, 1)]

    def name(self, index: int) -> str:
        return self.reader.name(index // 2) + ("+mirrored" if index % 2 else "")

    def num_frames(self, index: int) -> int:
        return self.reader.num_frames(index // 2)

    def read(self, index: int, start: int, stop: int) -> Episode:
        episode = replace(self.reader.read(index // 2, start, stop), id=index)
        if index % 2 == 0:
            return episode
        frames = np.ascontiguousarray(episode.frames[:, :, ::-1])
        return replace(episode, frames=frames, actions=self._mirrored_actions(episode.actions), infos=None)

    def fingerprint(self) -> str:
        return f"{self.reader.fingerprint()} mirrored with {self.mirror.tolist()}"

    def _mirrored_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        spec = self.reader.action_spec()
        if spec.kind == "discrete":
            return self.mirror[actions - (spec.start[0] if spec.start else 0)]
        bounds = np.array([spec.low, spec.high])
        middle = np.where(np.isfinite(bounds).all(axis=0), bounds, 0.0).mean(axis=0).reshape(spec.shape)
        return (middle + self.mirror * (actions - middle)).astype(actions.dtype)
