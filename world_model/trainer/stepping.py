"""The parts of a LightningModule that make a run repeatable: randomness and learning rate as functions of the step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from world_model.trainer.muon import Muon
from world_model.trainer.settings import OptimizerConfig, RunConfig

CHECKPOINT = Path("checkpoints") / "last.ckpt"


class SteppedModule(L.LightningModule):
    """A module whose learning rate, like all randomness, depends on nothing but step, seed and rank.

    So a resumed run needs no generator states: it draws at step k what the uninterrupted run draws at step k.
    """

    def __init__(self, run: RunConfig, optimizer: OptimizerConfig) -> None:
        super().__init__()
        self.run = run
        self.optimizer_config = optimizer
        self._batch = (-1, 0)  # the current step, and which of its batches this is
        self._seconds_before = 0.0
        self._started: float | None = None

    def step_generator(self) -> torch.Generator:
        """A CPU generator for the current batch of the current step on this rank."""
        return torch.Generator().manual_seed(self._batch_seed())

    @property
    def seconds(self) -> float:
        """Seconds trained so far, those before a resume included."""
        return self._seconds_before + (0.0 if self._started is None else time.monotonic() - self._started)

    @property
    def progress(self) -> float:
        """Share of the run that is done, by the nearer of its two limits."""
        by_steps = self.global_step / self.run.max_steps if self.run.max_steps else 0.0
        by_time = self.seconds / (60 * self.run.max_minutes) if self.run.max_minutes else 0.0
        return max(by_steps, by_time)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        config = self.optimizer_config
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        betas = (config.beta1, config.beta2)
        if config.name == "muon":
            return Muon(trained, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay)
        return torch.optim.AdamW(
            trained, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay, foreach=True
        )

    def on_train_start(self) -> None:
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step, number = self._batch
        self._batch = (self.global_step, number + 1 if step == self.global_step else 0)
        torch.manual_seed(self._batch_seed())  # for dropout, which takes no generator
        progress = self.progress
        if self.run.max_minutes and self.trainer.world_size > 1:  # clocks differ, learning rates must not
            progress = float(self.trainer.strategy.broadcast(progress))
        scale = self.optimizer_config.scale(self.global_step, progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.optimizer_config.learning_rate * scale

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._batch[0] == self.global_step:
            return  # more batches belong to this step
        out_of_time = bool(self.run.max_minutes) and self.seconds >= 60 * (self.run.max_minutes or 0)
        if self.trainer.world_size > 1:
            out_of_time = bool(self.trainer.strategy.broadcast(out_of_time))
        self.trainer.should_stop = self.trainer.should_stop or out_of_time
        if out_of_time or self.global_step == self.run.max_steps:
            # Here and not when training has ended: by then the average has replaced the weights.
            self.trainer.save_checkpoint(Path(self.run.folder) / CHECKPOINT)

    def _batch_seed(self) -> int:
        batch = self.global_step * self.run.accumulate + self._batch[1]
        return self.run.seed * 1_000_000_007 + batch * self.trainer.world_size + self.global_rank

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seconds_trained"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._seconds_before = float(checkpoint["seconds_trained"])
