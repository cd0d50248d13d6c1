"""Learning rates and batches are functions of the step."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from world_model import precision
from world_model.trainer import OptimizerConfig, RunConfig, fit
from world_model.trainer.stepped_batches import SteppedBatches


def test_schedules() -> None:
    cosine = OptimizerConfig(warmup_steps=10, final_scale=0.1)
    assert cosine.scale(0, 0.0) == pytest.approx(0.1)
    assert cosine.scale(9, 0.0) == pytest.approx(1.0)
    assert cosine.scale(50, 0.5) == pytest.approx(0.55)
    assert cosine.scale(99, 1.0) == cosine.scale(99, 1.5) == pytest.approx(0.1)
    assert OptimizerConfig(warmup_steps=10, schedule="constant").scale(500, 0.99) == 1.0
    trapezoid = OptimizerConfig(warmup_steps=0, schedule="trapezoid", cooldown=0.5, final_scale=0.0)
    assert [trapezoid.scale(9, p) for p in (0.2, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]


def test_batches_can_start_anywhere() -> None:
    whole = list(islice(SteppedBatches(10, 4, seed=1), 12))
    assert list(islice(SteppedBatches(10, 4, seed=1, first_batch=5), 7)) == whole[5:]
    drawn = [index for batch in whole for index in batch]
    for epoch in range(4):
        assert sorted(drawn[epoch * 10 : (epoch + 1) * 10]) == list(range(10))
    assert list(islice(SteppedBatches(10, 4, seed=2), 12)) != whole


def test_ranks_share_an_epoch() -> None:
    ranks = [islice(SteppedBatches(16, 4, seed=1, rank=rank, ranks=2), 2) for rank in range(2)]
    assert sorted(index for rank in ranks for batch in rank for index in batch) == list(range(16))


def test_tiny_data_repeats() -> None:
    assert list(islice(SteppedBatches(1, 3, seed=0), 2)) == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(folder="x"), "expected max_steps, max_minutes or both"),
        (lambda: RunConfig(folder="x", max_steps=1, batch_size=0), "run.batch_size: expected 1 or more, got 0"),
        (lambda: RunConfig(folder="x", max_steps=1, resume="always"), "run.resume: expected auto or never"),  # type: ignore[arg-type]
        (lambda: OptimizerConfig(schedule="step"), "optimizer.schedule: expected cosine"),  # type: ignore[arg-type]
        (lambda: OptimizerConfig(learning_rate=0), "optimizer.learning_rate: expected a positive number, got 0"),
        (lambda: SteppedBatches(0, 1, seed=0), "expected at least 1 item, got 0"),
    ],
)
def test_wrong_settings_are_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("native", [False, True])
def test_precision_follows_the_processor(native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: native)
    found = fit._precision(RunConfig(str(tmp_path), max_steps=1, accelerator="cpu"))
    assert found == ("bf16-mixed" if native else "32-true")
    assert fit._precision(RunConfig(str(tmp_path), max_steps=1, accelerator="cuda")) == "bf16-mixed"
    assert fit._precision(RunConfig(str(tmp_path), max_steps=1, accelerator="cpu", precision="16-mixed")) == "16-mixed"
