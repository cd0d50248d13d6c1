"""What a causal network remembers of past frames, as a value.

Every temporal layer keeps one entry, in the order in which the layers run. Values never change once
made; still, a step appends one frame without copying the past: an entry is a window onto a longer
buffer, and the slot behind the window is written in place as long as nobody has taken it. Repeated rows
(a planner's candidates) go on sharing the frames they had in common until these leave the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    """The frames a layer looks at, oldest first: ``shared [b/r p ...]``, the same for ``r`` neighbouring rows, or
    ``None``; behind them each row's ``own [b n ...]``."""

    shared: Tensor | None
    own: Tensor

    def together(self) -> Tensor:
        """``[b p+n ...]``, the shared ones copied for every row."""
        if self.shared is None:
            return self.own
        repeats = self.own.shape[0] // self.shared.shape[0]
        return torch.cat([self.shared.repeat_interleave(repeats, 0), self.own], dim=1)


@dataclass(frozen=True)
class FrameLog:
    """The features ``[b n ...]`` of the last ``n`` frames; :meth:`append` returns a new log.

    ``taken[0]`` is shared by all logs over the same buffer and counts the slots somebody may read. Of rows that were
    repeated the buffer holds what each has added since, ``length`` frames; the older ones are ``shared [b/r p ...]``.
    """

    buffer: Tensor
    end: int
    length: int
    taken: list[int] = field(repr=False, compare=False)
    shared: Tensor | None = None

    @classmethod
    def of(cls, frames: Tensor) -> FrameLog:
        return cls(frames, frames.shape[1], frames.shape[1], [frames.shape[1]])

    @property
    def frames(self) -> Tensor:
        """``[b n ...]``, oldest first."""
        return Seen(self.shared, self._own).together()

    @property
    def _own(self) -> Tensor:
        return self.buffer[:, self.end - self.length : self.end]

    def repeat(self, n: int) -> FrameLog:
        """Each row ``n`` times in a row; what there is so far is kept once for all of them."""
        frames = self.frames
        if n == 1:
            return FrameLog.of(frames)
        nothing = frames.new_empty(n * frames.shape[0], 0, *frames.shape[2:])
        return FrameLog(nothing, 0, 0, [0], frames if frames.shape[1] else None)

    def append(self, new: Tensor, keep: int, limit: int) -> tuple[Seen, FrameLog]:
        """Add frames ``[b f ...]`` behind the past.

        Returns:
            all ``n + f`` frames to look at now, and the log that remembers the first ``keep`` new ones, at most
            ``limit`` frames in all.
        """
        if new.requires_grad or self.buffer.requires_grad:
            buffer, end, taken = torch.cat([self._own, new], dim=1), self.length, [0]
        else:
            buffer, end, taken = self._room_for(new, limit)
            buffer[:, end : end + new.shape[1]] = new
        taken[0] = end + keep
        own = self.length + keep
        shared = None if self.shared is None or own >= limit else self.shared[:, own - limit :]
        log = FrameLog(buffer, end + keep, min(own, limit), taken, shared)
        return Seen(self.shared, buffer[:, end - self.length : end + new.shape[1]]), log

    def _room_for(self, new: Tensor, limit: int) -> tuple[Tensor, int, list[int]]:
        """A buffer with this log's own frames and free slots behind them, where these start, and its count."""
        stop = self.end + new.shape[1]
        foreign = self.buffer.is_inference() and not torch.is_inference_mode_enabled()
        if stop <= self.buffer.shape[1] and self.taken[0] == self.end and not foreign:
            return self.buffer, self.end, self.taken
        # Repeated rows are many and often soon dropped: their buffers grow as they fill.
        spare = limit if self.shared is None else min(limit, self.length + new.shape[1])
        buffer = new.new_empty(new.shape[0], self.length + new.shape[1] + spare, *new.shape[2:])
        buffer[:, : self.length] = self._own
        return buffer, self.length, [0]


Entry = FrameLog | Tensor  # attention keys or values, or the last inputs of a convolution [b n ...]


def _frames(entry: Entry) -> Tensor:
    return entry.frames if isinstance(entry, FrameLog) else entry


def _merged(mine: Entry | None, theirs: Entry | None, rows: Tensor, batch: int, length: int) -> Entry:
    """``mine [batch n ...]`` with ``rows`` replaced by ``theirs``: logs of ``length`` frames, with zeros where either
    has fewer (``None``: none).

    A log comes with free slots, so that the frames that follow are written behind it and it is copied only here.
    """
    entry = theirs if mine is None else mine
    assert entry is not None
    is_log = isinstance(entry, FrameLog)
    like = _frames(entry)
    length = length if is_log else like.shape[1]
    buffer = like.new_empty(batch, 2 * length if is_log else length, *like.shape[2:])
    merged = buffer[:, :length]
    _fill(merged, mine)
    fresh = like.new_empty(len(rows), *merged.shape[1:])
    _fill(fresh, theirs)
    merged.index_copy_(0, rows, fresh)
    return FrameLog(buffer, length, length, [length]) if is_log else buffer


def _fill(frames: Tensor, entry: Entry | None) -> None:
    """Write ``entry`` to the end of ``frames [b n ...]``, zeros before it."""
    known = None if entry is None else _frames(entry)
    missing = frames.shape[1] - (0 if known is None else known.shape[1])
    frames[:, :missing] = 0
    if known is not None:
        frames[:, missing:] = known


def _repeat(x: Tensor, n: int) -> Tensor:
    return x.expand(n, *x.shape[1:]) if x.shape[0] == 1 else x.repeat_interleave(n, 0)


@dataclass(frozen=True)
class NetworkCache:
    """The memory of a whole network.

    Attributes:
        entries: one per temporal layer and kind, in running order; empty before the first frame.
        valid: ``[b n]``, which remembered frames exist for each row; ``None`` when all do. Rows that
            were reset at different times have histories of different lengths, aligned at the newest frame.
        length: number ``n`` of remembered frames.
    """

    entries: tuple[Entry, ...] = ()
    valid: Tensor | None = None
    length: int = 0

    def repeat(self, n: int) -> NetworkCache:
        """Each row ``n`` times in a row; the copies share what they remember."""
        entries = tuple(e.repeat(n) if isinstance(e, FrameLog) else _repeat(e, n) for e in self.entries)
        return replace(self, entries=entries, valid=None if self.valid is None else _repeat(self.valid, n))

    def select(self, rows: Tensor) -> NetworkCache:
        if len(rows) == 1:  # a view: forking one environment copies nothing
            row = int(rows)
            return self._map(lambda x: x[row : row + 1])
        return self._map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> NetworkCache:
        return self._map(lambda x: x.to(device))

    def scatter(self, rows: Tensor, other: NetworkCache, batch: int) -> NetworkCache:
        """Replace rows (of ``batch``) by those of ``other``; the shorter history is padded, invalid, at its old end."""
        if not self.entries and not other.entries:
            return self
        length = max(self.length, other.length)
        nothing = (None,) * max(len(self.entries), len(other.entries))
        pairs = zip(self.entries or nothing, other.entries or nothing, strict=True)
        entries = tuple(_merged(mine, theirs, rows, batch, length) for mine, theirs in pairs)
        valid = self._valid(batch, length, rows.device).index_copy(
            0, rows, other._valid(len(rows), length, rows.device)
        )
        return NetworkCache(entries, None if bool(valid.all()) else valid, length)

    def _valid(self, batch: int, length: int, device: torch.device) -> Tensor:
        """``[batch length]``: :attr:`valid` of a memory padded to that length."""
        valid = torch.zeros(batch, length, dtype=torch.bool, device=device)
        if self.length:
            valid[:, length - self.length :] = True if self.valid is None else self.valid
        return valid

    def _map(self, change: Callable[[Tensor], Tensor]) -> NetworkCache:
        entries = tuple(FrameLog.of(change(e.frames)) if isinstance(e, FrameLog) else change(e) for e in self.entries)
        return replace(self, entries=entries, valid=None if self.valid is None else change(self.valid))
