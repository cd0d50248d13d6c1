"""Shared vocabulary of the world model.

Dimension legend, used in every shape below:

    b  batch (clips, or environments stepped together)     a  columns of the action tensor
    t  frames of a clip in order                           f  frames of one network call (a chain or a tree of frames)
    c  latent channels      h w  height and width          n  candidates, or steps of a rollout
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from world_model.network.cache import NetworkCache

ActionKind = Literal["box", "discrete", "multi_discrete", "multi_binary"]
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class ActionSpec:
    """What an action is, told without Gymnasium.

    As a tensor an action always ends in one dimension ``a`` (:attr:`size`): float32 values in the
    environment's own units for ``box``, integer indices counted from 0 (``start`` removed) for
    ``discrete`` and ``multi_discrete``, float32 zeros and ones for ``multi_binary``.
    """

    kind: ActionKind
    shape: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    nvec: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.kind == "box" and not len(self.low) == len(self.high) == self.size:
            raise ValueError(
                f"box action spec: expected {self.size} bounds, got {len(self.low)} low and {len(self.high)} high"
            )
        if self.kind in ("discrete", "multi_discrete") and len(self.nvec) != self.size:
            raise ValueError(f"{self.kind} action spec: expected {self.size} entries in nvec, got {len(self.nvec)}")

    @property
    def size(self) -> int:
        """Number of columns ``a`` of the action tensor."""
        return int(np.prod(self.shape, dtype=int)) if self.shape else 1

    @property
    def is_integer(self) -> bool:
        return self.kind in ("discrete", "multi_discrete")

    def to_tensor(self, actions: np.ndarray | Sequence[Any]) -> Tensor:
        """Native actions ``[..., *shape]`` as a tensor ``[..., a]``."""
        array = np.asarray(actions)
        if array.shape[array.ndim - len(self.shape) :] != self.shape:
            raise ValueError(f"actions: expected trailing shape {self.shape}, got array of shape {array.shape}")
        array = array.reshape(*array.shape[: array.ndim - len(self.shape)], self.size)
        if self.is_integer:
            offset = np.asarray(self.start or (0,) * self.size, dtype=np.int64)
            return torch.from_numpy(array.astype(np.int64) - offset)
        return torch.from_numpy(array.astype(np.float32))

    def to_native(self, actions: Tensor) -> np.ndarray:
        """Action tensor ``[..., a]`` as the environment's own array ``[..., *shape]``."""
        array = actions.detach().cpu().numpy()
        if self.is_integer:
            array = array + np.asarray(self.start or (0,) * self.size, dtype=np.int64)
        return array.reshape(*array.shape[:-1], *self.shape).astype(self.dtype)

    def block(self, length: int) -> ActionSpec:
        """Of ``length`` such actions one after the other, taken as one: shape ``(length, *shape)``."""
        if length < 1:
            raise ValueError(f"action_block: expected 1 or more, got {length}")
        if length == 1:
            return self
        repeated = {name: getattr(self, name) * length for name in ("low", "high", "nvec", "start")}
        kind: ActionKind = "multi_discrete" if self.kind == "discrete" else self.kind
        return replace(self, kind=kind, shape=(length, *self.shape), **repeated)

    def single(self, length: int) -> ActionSpec:
        """One of the ``length`` continuous actions that such a block is made of."""
        if length == 1:
            return self
        size = self.size // length
        return replace(self, shape=self.shape[1:], low=self.low[:size], high=self.high[:size])

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionSpec:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class Conditioning:
    """What the network is told about each of its ``f`` frames, beside latents and noise levels.

    Attributes:
        actions: ``[b f a]``, the action that *led to* each frame (see :func:`incoming_actions`).
        action_mask: ``[b f]``, 1 where that action is known, 0 where it is dropped; ``None`` means all known.
        context: ``[b l d]`` tokens for cross-attention, or ``None``.
        concat: ``[b f c h w]`` latents stacked onto the input channels, or ``None``.
        fps: ``[b]`` frames per second as integers, or ``None`` for the network's default.
    """

    actions: Tensor | None = None
    action_mask: Tensor | None = None
    context: Tensor | None = None
    concat: Tensor | None = None
    fps: Tensor | None = None

    def frames(self, index: Tensor | slice | list[int]) -> Conditioning:
        """The same conditioning for a selection of the frames."""
        pick = _picker((slice(None), index))
        return replace(self, actions=pick(self.actions), action_mask=pick(self.action_mask), concat=pick(self.concat))

    def rows(self, index: Tensor) -> Conditioning:
        """The same conditioning for a selection of the batch."""
        pick = _picker(index)
        return Conditioning(
            pick(self.actions), pick(self.action_mask), pick(self.context), pick(self.concat), pick(self.fps)
        )


def _picker(index: Any) -> Callable[[Tensor | None], Tensor | None]:
    return lambda value: None if value is None else value[index]


def incoming_actions(actions: Tensor) -> tuple[Tensor, Tensor]:
    """Align actions with the frames they lead to: the one place where time is shifted.

    Args:
        actions: ``[b t-1 a]``, ``actions[:, i]`` leads from frame ``i`` to frame ``i + 1``.

    Returns:
        ``[b t a]`` with a zero action in front, and the mask ``[b t]`` that marks frame 0 as "action unknown".
    """
    first = actions.new_zeros(actions.shape[0], 1, actions.shape[2])
    aligned = torch.cat([first, actions], dim=1)
    mask = torch.ones(aligned.shape[:2], device=actions.device)
    mask[:, 0] = 0.0
    return aligned, mask


@dataclass(frozen=True)
class Scene:
    """What an episode's first frame tells a network that is conditioned on an image; it stays while stepping.

    Attributes:
        concat: ``[b c h w]``, the first frame's latent, stacked onto every frame's input channels.
        context: ``[b l d]``, text and image tokens for cross-attention.
        dropped_context: ``[b l d]``, those of the branch without action where they differ (the reference gives it the
            tokens of the autoencoder's reconstruction); ``None`` where they are the same.
    """

    concat: Tensor
    context: Tensor
    dropped_context: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Scene:
        dropped = None if self.dropped_context is None else change(self.dropped_context)
        return Scene(change(self.concat), change(self.context), dropped)

    def scatter(self, rows: Tensor, other: Scene) -> Scene:
        dropped = None
        if self.dropped_context is not None and other.dropped_context is not None:
            dropped = self.dropped_context.index_copy(0, rows, other.dropped_context)
        concat, context = self.concat.index_copy(0, rows, other.concat), self.context.index_copy(0, rows, other.context)
        return Scene(concat, context, dropped)


def conditioning(actions: Tensor, mask: Tensor, scene: Scene | None) -> Conditioning:
    """Of ``f`` frames, given the actions that led to them; the scene is the same for all of them."""
    if scene is None:
        return Conditioning(actions, mask)
    concat = scene.concat[:, None].expand(-1, actions.shape[1], -1, -1, -1)
    return Conditioning(actions, mask, scene.context, concat)


@dataclass(frozen=True)
class WorldState:
    """Everything needed to imagine the next frame, as a value: stepping returns a new state and changes nothing.

    Attributes:
        cache: what is remembered of all frames before the newest: the network's own features, or, for a network that
            cannot be streamed, the frames themselves (:mod:`world_model.recompute`).
        latent: ``[b c h w]``, the newest frame, clean. It enters the cache with the next step, unless it is there.
        action: ``[b a]``, the action that led to the newest frame.
        action_mask: ``[b]``, 0 where that action is unknown (first frame of an episode).
        scene: of a model conditioned on the first frame, else ``None``.
        memory: ``[b d]``, what the reward head remembers, the newest frame included; ``None`` without a head.
        settled: whether the newest frame is in the cache already (:meth:`WorldModel.settle`).
    """

    cache: NetworkCache
    latent: Tensor
    action: Tensor
    action_mask: Tensor
    scene: Scene | None = None
    memory: Tensor | None = None
    settled: bool = False

    @property
    def batch_size(self) -> int:
        return self.latent.shape[0]

    def repeat(self, n: int) -> WorldState:
        """Each row ``n`` times in a row (``b -> b*n``); a single row shares its memory between the copies."""
        return self._map(self.cache.repeat(n), lambda x: x.repeat_interleave(n, 0))

    def select(self, index: Tensor | Sequence[int]) -> WorldState:
        """The rows named by ``index``."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.latent.device)
        return self._map(self.cache.select(rows), lambda x: x[rows])

    def scatter(self, index: Tensor | Sequence[int], other: WorldState) -> WorldState:
        """This state with the rows named by ``index`` replaced by the rows of ``other``."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.latent.device)
        if len(rows) != other.batch_size:
            raise ValueError(f"scatter: {len(rows)} rows named, but the other state has {other.batch_size}")
        assert self.settled == other.settled, "only states of one kind fit each other"
        scene = None
        if self.scene is not None and other.scene is not None:
            scene = self.scene.scatter(rows, other.scene)
        memory = None
        if self.memory is not None and other.memory is not None:
            memory = self.memory.index_copy(0, rows, other.memory)
        return WorldState(
            self.cache.scatter(rows, other.cache, self.batch_size),
            self.latent.index_copy(0, rows, other.latent),
            self.action.index_copy(0, rows, other.action),
            self.action_mask.index_copy(0, rows, other.action_mask),
            scene,
            memory,
            self.settled,
        )

    def to(self, device: torch.device | str) -> WorldState:
        return self._map(self.cache.to(device), lambda x: x.to(device))

    def _map(self, cache: NetworkCache, change: Callable[[Tensor], Tensor]) -> WorldState:
        scene = None if self.scene is None else self.scene.map(change)
        memory = None if self.memory is None else change(self.memory)
        latent, action, mask = change(self.latent), change(self.action), change(self.action_mask)
        return WorldState(cache, latent, action, mask, scene, memory, self.settled)
