"""Exponential moving average of the weights, with Lightning's callback."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightEMA(WeightAveraging):
    """Averaged weights for validation, samples and the final model.

    Lightning's `EMAWeightAveraging` fixes the decay from the first step on, which keeps the random initial weights in
    the average for thousands of steps, and averages one tensor at a time. Its parent takes our function, which lets the
    decay grow with the steps and averages all tensors in one call. Buffers of the network are constants.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay: expected 0 up to but not 1, got {decay}")
        super().__init__(use_buffers=False, multi_avg_fn=GrowingDecay(decay))

    def apply(self, module: L.LightningModule) -> None:
        """Put the average into the module, also where a finished run was resumed and `on_train_end` never ran."""
        self._copy_average_to_current(module)


class GrowingDecay:
    """`min(decay, (1 + n) / (10 + n))` after n updates; a class, because closures cannot go to spawned ranks."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, average: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        torch._foreach_lerp_(average, current, 1 - min(self.decay, (1 + n) / (10 + n)))
