"""Time inside the network: how the frames of one call descend from each other and from remembered ones.

Frames of a call form a tree below the newest remembered frame. A clip is a chain; guidance puts two
versions of the newest frame side by side under one parent; training puts a noisy copy of every frame
beside a clean history. A frame sees itself and its ancestors, never a sibling, so all of these share
one history without copying it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from world_model.network.cache import Entry, FrameLog, NetworkCache, Seen


@dataclass(frozen=True)
class FrameTree:
    """``parents[i]`` is the index of frame ``i``'s predecessor within the call, -1 the newest remembered frame."""

    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        for frame, parent in enumerate(self.parents):
            if not -1 <= parent < frame:
                raise ValueError(f"frame tree: parent of frame {frame} must lie in -1..{frame - 1}, got {parent}")

    @classmethod
    def chain(cls, frames: int) -> FrameTree:
        return cls(tuple(range(-1, frames - 1)))

    @classmethod
    def teacher(cls, frames: int) -> FrameTree:
        """A clean chain of ``frames``, then a second copy of each frame that descends from the clean past."""
        return cls(tuple(range(-1, frames - 1)) * 2)

    def with_sibling(self) -> FrameTree:
        """One more frame beside the last one."""
        return FrameTree((*self.parents, self.parents[-1]))

    @property
    def is_chain(self) -> bool:
        return self.parents == tuple(range(-1, len(self.parents) - 1))

    def ancestor(self, generations: int) -> list[int]:
        """The frame that many generations back; -1, -2, ... count remembered frames from the newest."""
        found = []
        for frame in range(len(self.parents)):
            for left in range(generations, 0, -1):
                if frame < 0:
                    frame -= left
                    break
                frame = self.parents[frame]
            found.append(frame)
        return found


@lru_cache(maxsize=256)
def _runs(tree: FrameTree, generations: int) -> list[tuple[int, int]]:
    """Ancestors of all frames as runs ``first..last`` of neighbours: cheaper to differentiate than indices."""
    runs: list[tuple[int, int]] = []
    for frame in tree.ancestor(generations):
        if runs and frame == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs


@lru_cache(maxsize=256)
def _visibility(tree: FrameTree, past: int, window: int) -> Tensor:
    """``[f, past + f]``: which frames each frame sees, itself and at most ``window - 1`` ancestors."""
    frames = len(tree.parents)
    visible = torch.zeros(frames, past + frames, dtype=torch.bool)
    for generation in range(min(window, past + frames)):
        for frame, ancestor in enumerate(tree.ancestor(generation)):
            if past + ancestor >= 0:
                visible[frame, past + ancestor] = True
    return visible


_SHORT = 64  # keys
_FEW = 2  # queries: a new frame, or a clean one and the next


class TimePass:
    """What temporal layers ask of time during one forward pass; reads the old memory and collects the new."""

    def __init__(
        self, tree: FrameTree, cache: NetworkCache | None, window: int, commit: int | None = None, causal: bool = True
    ) -> None:
        if not causal and cache is not None:
            raise ValueError("a bidirectional network cannot be streamed: every frame would see the future")
        self.tree, self.window, self.causal = tree, window, causal
        self.frames = len(tree.parents)
        self.commit = self.frames if commit is None else commit
        self.cache = cache or NetworkCache()
        self.remembers = cache is not None
        if self.remembers and not FrameTree(tree.parents[: self.commit]).is_chain:
            raise ValueError("only a chain of frames can be remembered")
        self._old = iter(self.cache.entries)
        self._new: list[Entry] = []
        self._masks: dict[str, Tensor | None] = {}

    def result(self) -> NetworkCache:
        """The memory after this pass."""
        length = min(self.cache.length + self.commit, self.window - 1)
        valid = self.cache.valid
        if valid is not None:
            valid = torch.cat([valid, valid.new_ones(valid.shape[0], self.commit)], dim=1)[:, -length:]
            valid = None if bool(valid.all()) else valid
        return NetworkCache(tuple(self._new), valid, length)

    # -- attention

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention over time for ``n`` independent places: ``[b f n d]`` each -> ``[b f n d]``."""
        keys, values = self._with_past(k), self._with_past(v)
        mask = self._mask(k) if self.causal else None
        if keys.shared is not None:
            return shared_past_attention(q, keys, values, mask)
        k, v = keys.own, values.own
        if q.shape[1] <= _FEW and q.device.type == "cpu" and q.dtype == torch.float32:
            return few_queries_attention(q, k, v, mask)
        out = dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask)
        return out.transpose(1, 2)

    def _with_past(self, new: Tensor) -> Seen:
        if not self.remembers:
            return Seen(None, new)
        old = next(self._old, None)
        log = old if isinstance(old, FrameLog) else FrameLog.of(new[:, :0])
        seen, log = log.append(new, self.commit, self.window - 1)
        self._new.append(log)
        return seen

    def _mask(self, k: Tensor) -> Tensor | None:
        """Boolean ``[1 or b, 1, f, n + f]``; ``None`` where every frame sees everything."""
        if "attention" not in self._masks:
            # Looked at on the CPU: a GPU would have to end all its work first.
            visible = _visibility(self.tree, self.cache.length, self.window)
            everything = bool(visible.all())
            visible = visible.to(k.device)[None]
            if self.cache.valid is not None:
                known = F.pad(self.cache.valid, (0, self.frames), value=True)
                visible = visible & known[:, None]
                everything = bool(visible.all())
            self._masks["attention"] = None if everything else visible[:, None]
        return self._masks["attention"]

    # -- convolution

    def ancestors(self, x: Tensor, count: int) -> list[Tensor]:
        """The ``count`` frames before each frame of ``x`` ``[b f ...]``, oldest first; zeros before the beginning."""
        past = next(self._old, None) if self.remembers else None
        if past is None:
            past = x.new_zeros(x.shape[0], count, *x.shape[2:])
        assert isinstance(past, Tensor)
        sequence = torch.cat([past, x], dim=1)
        if self.remembers:
            # A copy, where it has new frames: a view would keep the whole sequence in memory.
            kept = sequence[:, self.commit : self.commit + count].clone() if self.commit else past
            self._new.append(kept)
        found = []
        for generation in range(count, 0, -1):
            runs = [sequence[:, count + first : count + last + 1] for first, last in _runs(self.tree, generation)]
            found.append(runs[0] if len(runs) == 1 else torch.cat(runs, dim=1))
        return found

    # -- normalisation

    def sum_over_past(self, sums: Tensor) -> Tensor:
        """Add up ``[b f ...]`` over everything each frame sees (itself, its ancestors within the window)."""
        everything = self._with_past(sums).together()
        mask = self._mask(everything)
        if mask is None:
            return everything.sum(1, keepdim=True).expand_as(sums)
        weights = mask[:, 0].to(sums.dtype).expand(sums.shape[0], -1, -1)
        return (weights @ everything.flatten(2)).view_as(sums)

    def frames_seen(self, like: Tensor) -> Tensor:
        """``[b or 1, f]``: over how many frames :meth:`sum_over_past` adds."""
        mask = self._mask(like)
        if mask is None:
            return like.new_full((1, self.frames), float(self.cache.length + self.frames))
        return mask[:, 0].sum(-1).to(like.dtype)


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention ``[n h l d]`` under a boolean mask.

    On the CPU plain products beat the fused kernel for the short sequences of small models, forward and even more so
    backward; everywhere else the fused kernel is the faster one.
    """
    if q.device.type != "cpu" or k.shape[-2] > _SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


def few_queries_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """:func:`dot_product_attention` of ``q [b f n d]``, ``k`` and ``v`` ``[b m n d]`` -> ``[b f n d]``, frame by frame.

    A few queries are vectors, not matrices: where every place asks for itself, products of single numbers read keys and
    values once and as they lie, and a batch of tiny matrix products takes several times as long on a CPU.
    """
    found = []
    for frame, query in enumerate((q * q.shape[-1] ** -0.5).split(1, dim=1)):
        scores = (k * query).sum(-1, keepdim=True)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, 0, frame, :, None, None], float("-inf"))
        found.append((scores.softmax(1) * v).sum(1, keepdim=True))
    return torch.cat(found, dim=1) if len(found) > 1 else found[0]


def shared_past_attention(q: Tensor, keys: Seen, values: Seen, mask: Tensor | None) -> Tensor:
    """:func:`dot_product_attention` of ``q [b f n d]`` where ``r`` neighbouring rows share their older keys and values.

    These rows ask the shared keys ``[b/r p n d]`` together, so nothing of the past is repeated; one softmax runs over
    the shared and each row's own.
    """
    assert keys.shared is not None and values.shared is not None
    groups, past = keys.shared.shape[:2]
    grouped = rearrange(q, "(g r) f n d -> g n (r f) d", g=groups)
    old = grouped @ rearrange(keys.shared, "g p n d -> g n d p")
    old = rearrange(old, "g n (r f) p -> (g r) n f p", f=q.shape[1])
    scores = torch.cat([old, q.transpose(1, 2) @ keys.own.permute(0, 2, 3, 1)], dim=-1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1).to(values.own.dtype)
    from_shared = rearrange(weights[..., :past], "(g r) n f p -> g n (r f) p", g=groups)
    from_shared = from_shared @ values.shared.transpose(1, 2)
    from_shared = rearrange(from_shared, "g n (r f) d -> (g r) f n d", f=q.shape[1])
    return from_shared + (weights[..., past:] @ values.own.transpose(1, 2)).transpose(1, 2)
