"""What every training of a world model is told, whatever it starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from world_model.data import Augmentation, DatasetConfig
from world_model.diffusion.loss import LossConfig
from world_model.model import SamplingConfig
from world_model.trainer.samples import SampleConfig
from world_model.trainer.settings import OptimizerConfig, RunConfig

NO_AUGMENTATION = Augmentation(jitter=0.0, hue=0.0, shift=0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run of a world model.

    Attributes:
        name: of the model, used in reports.
        dataset: folder of a recorded dataset, or how to read one.
        context_frames: recorded frames that a dream starts from by default.
        short_episodes: what to do with episodes shorter than a training clip: "error" or "skip".
        augmentation: of clips of pixels.
        data_workers: processes per device that read clips of pixels; 0 reads them in the training process.
        gradient_checkpointing: see `CausalUNet`.
        ema_decay: of the averaged weights that are validated and saved; 0 saves the weights themselves.
        reset_clips: validation clips that ship with the model as starts.
        reset_frames: frames of each; None for `context_frames`.
        dtype: weight type the bundle asks to be run in.

    Raises:
        ValueError: for settings that do not go together.
    """

    name: str
    dataset: str | DatasetConfig
    run: RunConfig
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    context_frames: int = 4
    short_episodes: Literal["error", "skip"] = "error"
    augmentation: Augmentation = NO_AUGMENTATION
    data_workers: int = 0
    gradient_checkpointing: bool = False
    ema_decay: float = 0.999
    reset_clips: int = 32
    reset_frames: int | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 up to but not 1, got {self.ema_decay}")
        if self.data_workers < 0:
            raise ValueError(f"data_workers: expected 0 or more, got {self.data_workers}")
        if self.loss.self_history_pool and self.run.devices != 1:
            raise ValueError(
                f"loss.self_history_pool: expected 0 with several devices, got {self.loss.self_history_pool} with "
                f"run.devices={self.run.devices}: a checkpoint holds the pool of one"
            )
        if self.run.sharded and (self.ema_decay or self.optimizer.name == "muon"):
            raise ValueError(
                "run.strategy=fsdp: expected ema_decay=0 and optimizer.name=adamw, got "
                f"{self.ema_decay} and {self.optimizer.name}: averages are kept whole, and Muon looks at whole "
                "matrices; change them or use strategy=ddp"
            )

    @property
    def clip_frames(self) -> int:
        """Frames of a training clip."""
        raise NotImplementedError
