"""What every training run is told: where, how long, on what, and how the learning rate moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate.

    Attributes:
        name: "adamw", or "muon", which orthogonalises the updates of kernels and matrices.
        learning_rate: the highest one, reached after `warmup_steps`.
        schedule: after the warm-up: "cosine" falls all the way; "constant" stays; "trapezoid" stays and falls linearly
            over the last `cooldown` of the run.
        cooldown: share of the run, for "trapezoid".
        final_scale: what the falling schedules end at, relative to `learning_rate`.
        gradient_clip: largest norm of all gradients together; 0 is off.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    schedule: Literal["cosine", "constant", "trapezoid"] = "cosine"
    cooldown: float = 0.2
    final_scale: float = 0.01
    weight_decay: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "muon"):
            raise ValueError(f"optimizer.name: expected adamw or muon, got {self.name!r}")
        if self.schedule not in ("cosine", "constant", "trapezoid"):
            raise ValueError(f"optimizer.schedule: expected cosine, constant or trapezoid, got {self.schedule!r}")
        if self.learning_rate <= 0:
            raise ValueError(f"optimizer.learning_rate: expected a positive number, got {self.learning_rate}")

    def scale(self, step: int, progress: float) -> float:
        """Factor on the learning rate at optimizer step `step`, with `progress` (0..1) of the run done."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        progress = min(1.0, progress)
        if self.schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * progress))
        elif self.schedule == "trapezoid":
            fall = min(1.0, (1 - progress) / max(self.cooldown, 1e-9))
        else:
            return warm
        return warm * (self.final_scale + (1 - self.final_scale) * fall)


@dataclass(frozen=True)
class RunConfig:
    """Where a run lives, when it ends and what it runs on.

    Attributes:
        folder: everything the run writes; a run that finds its own checkpoint here goes on from it.
        max_steps: optimizer steps; None for no limit.
        max_minutes: minutes of training, those before a kill included; None for no limit. Whichever limit is nearer
            drives the learning rate, so a run limited by time still finishes its schedule. Only runs limited by steps
            alone repeat exactly.
        batch_size: samples per device that are looked at together.
        accumulate: how many batches make one step; its gradient is their mean.
        validate_every, checkpoint_every, log_every: in steps; a kill loses at most `checkpoint_every` steps.
        validation_batches: batches of the validation split that are looked at each time.
        resume: "auto" goes on where the folder's checkpoint ends; "never" refuses a folder that has one.
        accelerator, devices: as in `lightning.Trainer`.
        precision: as there, or "auto": "bf16-mixed", but "32-true" on processors that are slow in bfloat16.
        strategy: how several devices share the work, as in `lightning.Trainer`; "fsdp" also shares weights and
            optimizer state among them (see `sharding`).
        num_threads: CPU threads of torch; None leaves torch's choice.
        progress_bar: show one on the terminal.
    """

    folder: str
    max_steps: int | None = None
    max_minutes: float | None = None
    batch_size: int = 16
    accumulate: int = 1
    seed: int = 0
    validate_every: int = 500
    validation_batches: int = 16
    checkpoint_every: int = 200
    log_every: int = 20
    resume: Literal["auto", "never"] = "auto"
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    num_threads: int | None = None
    progress_bar: bool = True

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_minutes is None:
            raise ValueError("run: expected max_steps, max_minutes or both, got neither; say when to stop")
        counts = ("batch_size", "accumulate", "validate_every", "validation_batches", "checkpoint_every", "log_every")
        for name in (*counts, "devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name}: expected 1 or more, got {getattr(self, name)}")
        if self.resume not in ("auto", "never"):
            raise ValueError(f"run.resume: expected auto or never, got {self.resume!r}")

    @property
    def sharded(self) -> bool:
        """Whether each device holds only a part of the weights."""
        return self.strategy == "fsdp"
