"""What a causal network remembers of past frames, as a value.

Every temporal layer keeps one entry, in the order in which the layers run. Values never change once
made; still, a step appends one frame without copying the past: an entry is a window onto a longer
buffer, and the slot behind the window is written in place as long as nobody has taken it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class FrameLog:
    """The features ``[b n ...]`` of the last ``n`` frames; :meth:`append` returns a new log.

    ``taken[0]`` is shared by all logs over the same buffer and counts the slots somebody may read.
    """

    buffer: Tensor
    end: int
    length: int
    taken: list[int] = field(repr=False, compare=False)

    @classmethod
    def of(cls, frames: Tensor) -> FrameLog:
        return cls(frames, frames.shape[1], frames.shape[1], [frames.shape[1]])

    @property
    def frames(self) -> Tensor:
        """``[b n ...]``, oldest first."""
        return self.buffer[:, self.end - self.length : self.end]

    def append(self, new: Tensor, keep: int, limit: int) -> tuple[Tensor, FrameLog]:
        """Add frames ``[b f ...]`` behind the past.

        Returns:
            all frames ``[b n+f ...]`` to look at now, and the log that remembers the first ``keep`` new ones,
            at most ``limit`` frames in all.
        """
        stop = self.end + new.shape[1]
        if new.requires_grad or self.buffer.requires_grad:
            everything = torch.cat([self.frames, new], dim=1)
            return everything, FrameLog.of(everything[:, : self.length + keep][:, -limit:])
        if self._writable(stop):
            buffer, end, taken = self.buffer, self.end, self.taken
        else:
            shape = (new.shape[0], self.length + new.shape[1] + limit, *new.shape[2:])
            buffer, end, taken = new.new_empty(shape), self.length, [0]
            buffer[:, : self.length] = self.frames
            stop = end + new.shape[1]
        buffer[:, end:stop] = new
        taken[0] = end + keep
        log = FrameLog(buffer, end + keep, min(self.length + keep, limit), taken)
        return buffer[:, end - self.length : stop], log

    def _writable(self, stop: int) -> bool:
        shared_rows = self.buffer.shape[0] > 1 and self.buffer.stride(0) == 0
        foreign = self.buffer.is_inference() and not torch.is_inference_mode_enabled()
        return stop <= self.buffer.shape[1] and self.taken[0] == self.end and not shared_rows and not foreign


Entry = FrameLog | Tensor  # attention keys or values, or the last inputs of a convolution [b n ...]


def _frames(entry: Entry) -> Tensor:
    return entry.frames if isinstance(entry, FrameLog) else entry


def _like(entry: Entry, frames: Tensor) -> Entry:
    return FrameLog.of(frames) if isinstance(entry, FrameLog) else frames


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
        def copy(x: Tensor) -> Tensor:
            return x.expand(n, *x.shape[1:]) if x.shape[0] == 1 else x.repeat_interleave(n, 0)

        return self._map(copy)

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
        mine = self._padded(length, batch, other)
        theirs = other._padded(length, len(rows), self)
        entries = tuple(
            _like(a, _frames(a).index_copy(0, rows, _frames(b)))
            for a, b in zip(mine.entries, theirs.entries, strict=True)
        )
        assert mine.valid is not None and theirs.valid is not None
        valid = mine.valid.index_copy(0, rows, theirs.valid)
        return NetworkCache(entries, None if bool(valid.all()) else valid, length)

    def _padded(self, length: int, batch: int, like: NetworkCache) -> NetworkCache:
        """This memory with ``length`` frames per log, missing ones zero and invalid."""

        def pad(entry: Entry, model: Entry) -> Entry:
            frames, wanted = _frames(entry), length if isinstance(model, FrameLog) else _frames(model).shape[1]
            missing = wanted - frames.shape[1]
            return _like(model, torch.cat([frames.new_zeros(batch, missing, *frames.shape[2:]), frames], dim=1))

        templates = self.entries or tuple(
            _like(m, _frames(m)[:1, :0].expand(batch, 0, *_frames(m).shape[2:])) for m in like.entries
        )
        entries = tuple(pad(entry, model) for entry, model in zip(templates, like.entries or templates, strict=True))
        valid = torch.zeros(batch, length, dtype=torch.bool, device=_frames(templates[0]).device)
        if self.length:
            valid[:, length - self.length :] = True if self.valid is None else self.valid
        return replace(self, entries=entries, valid=valid, length=length)

    def _map(self, change: Callable[[Tensor], Tensor]) -> NetworkCache:
        entries = tuple(_like(entry, change(_frames(entry))) for entry in self.entries)
        return replace(self, entries=entries, valid=None if self.valid is None else change(self.valid))
