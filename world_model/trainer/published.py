"""The paper's training: from DynamiCrafter's weights, or a published model's, to a world model of a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from world_model.checkpoints.load import load
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.transfer import TransferMethod
from world_model.data import Augmentation, RecordedDataset, open_dataset
from world_model.diffusion.loss import LossConfig
from world_model.model import SamplingConfig, WorldModel
from world_model.network.normalization import TemporalNorm
from world_model.trainer.pixels import PixelClipDataModule, PixelEncoder
from world_model.trainer.recipe import Recipe
from world_model.trainer.settings import OptimizerConfig
from world_model.trainer.world_training import train
from world_model.types import ActionSpec


@dataclass(frozen=True, kw_only=True)
class PublishedTrainConfig(Recipe):
    """A training run in the published layout; see also `Recipe`. The defaults are the paper's.

    Sizes are those of the checkpoint; network and image projector train, autoencoder and image tower do not.

    Attributes:
        init_from: a checkpoint of DynamiCrafter (320x512) or Vid2World in any of their formats, the name of a published
            model, or a folder made by `v2w convert` or by this training.
        transfer: how DynamiCrafter's temporal layers become causal.
        window: frames the network sees at once, and of a training clip.
        default_fps: frame rate that the network is told, whatever the recording's is.
        temporal_norm, output_conv: see `UNetConfig`.
        image_dropout: see `PixelEncoder`.
    """

    init_from: str | None = None
    transfer: TransferMethod = "extrapolative"
    window: int = 16
    default_fps: int = 3
    temporal_norm: TemporalNorm = "clip"
    output_conv: Literal["height_causal", "symmetric"] = "height_causal"
    image_dropout: float = 0.1
    loss: LossConfig = field(default_factory=lambda: LossConfig(action_dropout=0.2, first_action="zero"))
    sampling: SamplingConfig = field(default_factory=lambda: PublishedLayout().sampling_config())
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=1e-5, warmup_steps=0, schedule="constant", weight_decay=0.01, beta2=0.999, gradient_clip=0.5
        )
    )
    augmentation: Augmentation = field(default_factory=Augmentation)
    context_frames: int = 1
    gradient_checkpointing: bool = True
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.image_dropout <= 1:
            raise ValueError(f"image_dropout: expected 0..1, got {self.image_dropout}")
        if self.window < 2:
            raise ValueError(f"window: expected 2 frames or more, got {self.window}")
        if self.loss.salience:
            raise ValueError(f"loss.salience: expected 0, since clips are read as pixels, got {self.loss.salience}")
        if self.loss.self_history_pool:
            raise ValueError(
                f"loss.self_history_pool: expected 0 for models with a conditioner, got {self.loss.self_history_pool}"
            )

    @property
    def clip_frames(self) -> int:
        return self.window


def train_published(config: PublishedTrainConfig) -> Path:
    """Train and save a bundle; reset clips come from the validation split.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: for an empty or unreadable dataset, episodes shorter than the window, a checkpoint to start from
            that is missing, damaged or of another kind, or one in the run's folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = open_dataset(config.dataset)
    world = published_world(config, recorded)
    data = PixelClipDataModule(recorded, config.window, config.short_episodes, config.run, config.data_workers)
    encoder = PixelEncoder(world, recorded.transform, config.augmentation, "sample", config.image_dropout)
    return train(config, world, recorded, data, encoder)


def published_world(config: PublishedTrainConfig, recorded: RecordedDataset) -> WorldModel:
    """The world model that training starts from, for the actions and frames of a dataset.

    Raises:
        ValueError: if there is no such checkpoint, or it does not fit dataset or configuration.
    """
    if config.init_from is None:
        raise ValueError(
            "init_from: expected a checkpoint of DynamiCrafter or Vid2World, got none; to try the recipe without one, "
            "`python -m world_model.checkpoints.synthetic tiny.ckpt --model dynamicrafter` writes random weights"
        )
    layout = PublishedLayout(
        frame_size=recorded.frame_size,
        fps=config.default_fps,
        window=config.window,
        context_frames=config.context_frames,
        temporal_norm=config.temporal_norm,
        output_conv=config.output_conv,
        sampling=config.sampling,
    )
    world = load(config.init_from, PublishedOptions(recorded.action_spec, config.transfer, layout, config.name))
    if world.conditioner is None:
        raise ValueError(
            f"init_from: {config.init_from} is a model that is not conditioned on an image; train it with "
            "train=world_model"
        )
    if not _same_actions(world.config.actions, recorded.action_spec):  # of a folder, which knows its own
        raise ValueError(
            f"init_from: {config.init_from} takes the actions {world.config.actions}, the dataset has "
            f"{recorded.action_spec}; start from a checkpoint for these, or from DynamiCrafter's, which has none"
        )
    if world.config.network.output_conv != config.output_conv:
        raise ValueError(
            f"output_conv: expected {world.config.network.output_conv}, that of {config.init_from}, got "
            f"{config.output_conv}"
        )
    world.set_window(config.window)
    world.set_temporal_norm(config.temporal_norm)
    network = replace(world.config.network, default_fps=config.default_fps)
    world.network.config = network
    world.config = replace(
        world.config,
        name=config.name,
        actions=recorded.action_spec,
        source_env=recorded.env_id or f"{recorded.format} recordings",
        frame_size=recorded.frame_size,
        context_frames=config.context_frames,
        fps=recorded.fps,
        frame_skip=recorded.frame_skip,
        action_block=recorded.action_block,
        dtype=config.dtype,
        network=network,
        sampling=config.sampling,
    )
    return world


def _same_actions(one: ActionSpec, other: ActionSpec) -> bool:
    """Whether a network for the one takes the other; it is fed raw numbers, so bounds do not matter."""
    return (one.kind, one.size, one.nvec) == (other.kind, other.size, other.nvec)
