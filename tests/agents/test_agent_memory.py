"""The memory benchmark sees memory grow where it does."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agent_memory import AgentMemoryConfig, Watch, main, resident_megabytes, summary


def test_growth_is_that_from_the_second_fifth_to_the_last() -> None:
    flat = summary([90.0] * 10 + [100.0] * 40, 1000)
    assert (flat["growth_mb"], flat["early_mb"], flat["peak_mb"]) == (0, 100, 100)
    leaking = summary([100.0 + i for i in range(50)], 1000)
    assert leaking["growth_mb"] == pytest.approx(30)


def test_readings_are_spread_over_the_steps() -> None:
    readings = iter(range(100))
    watch = Watch(3, lambda: next(readings))
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    for _ in range(10):
        rewards, ended = watch(frames, np.zeros(2), {})
        assert rewards.shape == ended.shape == (2,)
    assert watch.megabytes == [0, 1, 2]


def test_what_is_held_is_seen() -> None:
    before = resident_megabytes()
    with mmap.mmap(-1, 40_000_000) as held:  # not from the heap, which may still hold what earlier tests gave back
        for _ in range(40):
            held.write(b"1" * 1_000_000)
        seen = resident_megabytes() - before
    assert 35 < seen < 60


def test_a_short_run_writes_its_report(tmp_path: Path) -> None:
    config = AgentMemoryConfig(steps=320, num_envs=4, horizon=5, samples=10, results=str(tmp_path))
    measures = main(config)
    assert json.loads((tmp_path / "agent_memory.json").read_text())["growth_mb"] == pytest.approx(
        measures["growth_mb"], rel=1e-3
    )
    assert "growth of resident memory" in (tmp_path / "agent_memory.md").read_text()
    with pytest.raises(ValueError, match="samples: expected at least 10 and at most 5"):
        main(AgentMemoryConfig(steps=20, num_envs=4, results=str(tmp_path)))
