"""Calls and seconds of modules, counted from outside."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from benchmarks.stopwatch import Part, Stopwatch


class Slow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return x


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Slow()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x))


def test_calls_and_seconds_of_parts_also_inside_each_other() -> None:
    with Stopwatch({"whole": Whole, "inner": Slow, "other": nn.Linear}) as watch:
        Whole()(torch.zeros(1))  # made while it watches
    assert (watch.parts["whole"].calls, watch.parts["inner"].calls) == (1, 2)
    assert 0.04 <= watch.parts["inner"].seconds <= watch.parts["whole"].seconds
    assert watch.parts["inner"].cpu_seconds < watch.parts["inner"].seconds  # asleep, mostly
    assert watch.parts["other"] == Part(0, 0.0, 0.0)


def test_nothing_is_watched_afterwards_also_after_an_error() -> None:
    module, watch = Slow(), Stopwatch({"slow": Slow})
    with pytest.raises(KeyError), watch:
        module(torch.zeros(1))
        raise KeyError
    module(torch.zeros(1))
    assert watch.parts["slow"].calls == 1
