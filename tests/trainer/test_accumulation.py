"""Several batches to a step: the same step as one larger batch, and everything still counts in steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.trainer.conftest import run_config
from tests.trainer.test_autoencoder_training import curve
from world_model.trainer import OptimizerConfig, RunConfig
from world_model.trainer.fit import fit
from world_model.trainer.stepped_batches import SteppedBatches
from world_model.trainer.stepping import SteppedModule


class Line(SteppedModule):
    """Fits a line; keeps what it drew and where it was validated."""

    def __init__(self, run: RunConfig) -> None:
        super().__init__(
            run, OptimizerConfig(learning_rate=0.1, warmup_steps=0, schedule="constant", gradient_clip=0.5)
        )
        self.line = nn.Linear(2, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)
        self.draws: list[tuple[int, float, float]] = []
        self.validated: list[int] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        draw = float(torch.rand(1, generator=self.step_generator()))
        self.draws.append((self.global_step, draw, float(torch.rand(1))))
        loss = (self.line(batch[0])[:, 0] - batch[1]).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.validated.append(self.global_step)


class Points(L.LightningDataModule):
    def __init__(self, run: RunConfig) -> None:
        super().__init__()
        x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
        self.points, self.run = TensorDataset(x, x[:, 0] - 2 * x[:, 1] + 1), run

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.points), self.run)
        return DataLoader(self.points, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.points, batch_size=32)


def trained(folder: Path, **run: Any) -> Line:
    config = run_config(folder, **{"max_steps": 6, "validate_every": 2, "checkpoint_every": 2, **run})
    module = Line(config)
    fit(module, Points(config), config)
    return module


def test_two_batches_are_one_of_twice_the_size(tmp_path: Path) -> None:
    large = trained(tmp_path / "large", batch_size=8)
    small = trained(tmp_path / "small", batch_size=4, accumulate=2)
    torch.testing.assert_close(small.line.weight, large.line.weight, rtol=1e-4, atol=1e-5)
    assert float(large.line.weight.detach().abs().sum()) > 0.5
    assert small.validated == large.validated == [2, 4, 6]
    assert set(curve(tmp_path / "small")) == set(curve(tmp_path / "large")) == set(range(6))
    speed = curve(tmp_path / "small", "speed/steps_per_s"), curve(tmp_path / "small", "speed/samples_per_s")
    assert all(speed[1][step] == pytest.approx(8 * speed[0][step], rel=1e-4) for step in speed[0])


def test_every_batch_draws_its_own_and_a_resumed_run_the_same(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", accumulate=3)
    assert [step for step, *_ in whole.draws] == [step for step in range(6) for _ in range(3)]
    assert len({draw for _, draw, _ in whole.draws}) == len({draw for *_, draw in whole.draws}) == 18
    trained(tmp_path / "part", accumulate=3, max_steps=4)
    part = trained(tmp_path / "part", accumulate=3)
    assert part.draws == whole.draws[12:]
    torch.testing.assert_close(part.line.weight, whole.line.weight, rtol=1e-5, atol=1e-6)


def test_time_runs_out_between_steps_and_not_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteppedModule, "seconds", property(lambda self: 10.0 * len(self.draws)))
    module = trained(tmp_path, accumulate=3, max_steps=None, max_minutes=40 / 60)  # over after four batches
    assert len(module.draws) == 6
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
