"""Dictionaries to dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from world_model.schema import build


@dataclass(frozen=True)
class Inner:
    channels: tuple[int, ...] = (1, 2)
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    path: Path
    inner: Inner = Inner()
    maybe: int | None = None
    mode: Literal["a", "b"] = "a"
    pair: tuple[int, int] | None = None
    text_or_path: str | Path = "x"
    free: dict[str, Any] = field(default_factory=dict)


def test_builds_nested_values_and_keeps_defaults() -> None:
    values = {
        "path": "runs",
        "inner": {"channels": [3, 4], "rate": 1},
        "pair": [1, 2],
        "free": {"k": [1]},
        "maybe": 2.0,
    }
    assert build(Outer, values) == Outer(Path("runs"), Inner((3, 4), 1.0), 2, "a", (1, 2), "x", {"k": [1]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing: path"),
        ({"path": "x", "mod": "a"}, r"unknown key 'mod'. Did you mean 'mode'\?"),
        ({"path": "x", "inner": {"rte": 1}}, r"unknown key 'inner.rte'. Did you mean 'inner.rate'\?"),
        ({"path": "x", "mode": "c"}, "mode: expected one of 'a', 'b', got 'c'"),
        ({"path": "x", "maybe": "three"}, r"maybe: expected int \| None, got 'three' \(str\)"),
        ({"path": "x", "maybe": True}, "maybe: expected"),
        ({"path": "x", "pair": [1]}, "pair: expected"),
        ({"path": "x", "inner": 3}, "inner: expected Inner, got 3"),
        ({"path": "x", "inner": {"channels": [1, "b"]}}, r"inner.channels\[1\]: expected int, got 'b'"),
        ({"path": 3}, r"path: expected Path, got 3 \(int\)"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Outer, values)
