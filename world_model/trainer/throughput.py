"""How fast a run goes."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Throughput(Callback):
    """Logs `speed/steps_per_s` and `speed/samples_per_s` (over all devices), validation and checkpoints included."""

    def __init__(self, every: int, samples_per_step: int) -> None:
        self.every = every
        self.samples_per_step = samples_per_step
        self._last: tuple[float, int] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._last is not None
        step = trainer.global_step
        if step % self.every or step == self._last[1]:  # all batches of an accumulated step end at the same one
            return
        now = time.monotonic()
        rate = (step - self._last[1]) / max(now - self._last[0], 1e-9)
        self._last = (now, step)
        pl_module.log("speed/steps_per_s", rate, rank_zero_only=True)
        pl_module.log("speed/samples_per_s", rate * self.samples_per_step * trainer.world_size, rank_zero_only=True)
