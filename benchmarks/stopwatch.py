"""How often the parts of a world model are called, and how long they take, whoever calls them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


@dataclass(frozen=True)
class Part:
    """Calls of a part, and the seconds spent in them: by the clock, and of all processor threads together."""

    calls: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Moment(NamedTuple):
    wall: float
    cpu: float


class Stopwatch:
    """Watches every call of modules of some types while its `with` block lasts, also of models not yet made.

    Args:
        parts: name of a part to the type of its module. A part inside another counts for both.
        device: on an accelerator, its work is waited for at either end of a call.
    """

    def __init__(self, parts: Mapping[str, type[nn.Module]], device: str = "cpu") -> None:
        self._names = {kind: name for name, kind in parts.items()}
        self._wait = device.startswith("cuda")
        self.parts: dict[str, Part] = {name: Part() for name in parts}
        self._begun: list[Moment] = []
        self._handles: list[Any] = []

    def now(self) -> Moment:
        if self._wait:
            torch.cuda.synchronize()
        return Moment(time.perf_counter(), time.process_time())

    def __enter__(self) -> Stopwatch:
        self._handles = [register_module_forward_pre_hook(self._begin), register_module_forward_hook(self._end)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        if type(module) in self._names:
            self._begun.append(self.now())

    def _end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        name = self._names.get(type(module))
        if name is None:
            return
        before, begin, end = self.parts[name], self._begun.pop(), self.now()
        seconds, cpu = before.seconds + end.wall - begin.wall, before.cpu_seconds + end.cpu - begin.cpu
        self.parts[name] = Part(before.calls + 1, seconds, cpu)
