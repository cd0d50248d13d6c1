"""Training a world model of one's own: a network of any shape behind an autoencoder trained before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from world_model.conditioning.autoencoder import Autoencoder
from world_model.data import RecordedDataset, open_dataset
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.schedule import ScheduleConfig
from world_model.model import WorldModel, WorldModelConfig
from world_model.network.unet import UNetConfig
from world_model.trainer.clips import ClipDataModule
from world_model.trainer.pixels import PixelClipDataModule, PixelEncoder
from world_model.trainer.recipe import Recipe
from world_model.trainer.settings import OptimizerConfig
from world_model.trainer.transplant import transplant
from world_model.trainer.world_training import train


@dataclass(frozen=True)
class DistillationConfig:
    """Learn from a model of many sampling steps to do with few; see `world_model.diffusion.distillation`.

    Attributes:
        teacher: bundle folder of that model; None learns from the recordings. Mostly the same as `init_from`.
        steps: its sampling steps; a multiple of those that the new model is to have (`sampling.num_sampling_steps`).
    """

    teacher: str | None = None
    steps: int = 8


@dataclass(frozen=True, kw_only=True)
class WorldTrainConfig(Recipe):
    """A training run of a world model of one's own; see also `Recipe`.

    Attributes:
        autoencoder: folder of a trained autoencoder.
        frames: "cached_latents" encodes the dataset once, before training; "pixels" reads and encodes clips when their
            turn comes, which augmentation and very large datasets need.
        window: frames per training clip; None for the network's window.
        init_from: bundle folder whose network the training starts from, see `transplant`; None starts from random
            weights. To go on with a killed run nothing is needed but its folder.
        latent_cache: folder for the encoded dataset; None for `latents` in the autoencoder's, where the next run
            finds it too.
        corrections: folder of `v2w correct`, dreams with what truly comes next, to train on; the dataset then gives the
            rest of the clips, validation, and the starts that ship with the model.
        corrected_share: of the training clips, that are corrections.
        distillation: a teacher to learn from, instead of from the recordings themselves.
    """

    autoencoder: str
    network: UNetConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-4, warmup_steps=500, weight_decay=0.01)
    )
    frames: Literal["cached_latents", "pixels"] = "cached_latents"
    window: int | None = None
    init_from: str | None = None
    latent_cache: str | None = None
    corrections: str | None = None
    corrected_share: float = 0.75
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames not in ("cached_latents", "pixels"):
            raise ValueError(f"frames: expected cached_latents or pixels, got {self.frames!r}")
        if self.frames == "cached_latents" and self.augmentation.changes:
            raise ValueError(
                "augmentation: expected none (jitter, hue and shift 0) with frames=cached_latents, since latents stay "
                f"as they are, got {self.augmentation}; use frames=pixels"
            )
        if self.frames == "pixels" and self.loss.salience:
            raise ValueError(
                f"loss.salience: expected 0 with frames=pixels, got {self.loss.salience}; use frames=cached_latents"
            )
        if self.loss.self_history_pool and (self.loss.salience or self.distillation.teacher is not None):
            raise ValueError(
                "loss.self_history_pool: expected loss.salience=0 and no distillation.teacher, got "
                f"{self.loss.salience:g} and {self.distillation.teacher}"
            )
        if not 0 < self.corrected_share <= 1:
            raise ValueError(f"corrected_share: expected above 0 and up to 1, got {self.corrected_share}")
        if self.corrections is not None and not self._takes_corrections:
            raise ValueError(
                "corrections: expected frames=cached_latents, loss.objective=teacher_forcing, loss.self_history=0 or a "
                f"loss.self_history_pool, and loss.salience=0, got {self.frames}, {self.loss.objective}, "
                f"{self.loss.self_history:g} without a pool and {self.loss.salience:g}"
            )
        if self.distillation.teacher is not None:
            if self.loss.objective != "teacher_forcing":
                raise ValueError(
                    f"loss.objective: expected teacher_forcing for a distillation, got {self.loss.objective!r}"
                )
            if self.sampling.spacing != "trailing" or self.sampling.eta:
                raise ValueError(
                    "sampling: expected spacing=trailing and eta=0 for a distillation, which follows a sampler without "
                    f"fresh noise, got {self.sampling.spacing} and {self.sampling.eta:g}"
                )

    @property
    def clip_frames(self) -> int:
        return self.window or self.network.window

    @property
    def _takes_corrections(self) -> bool:
        loss = self.loss
        recorded = self.frames == "cached_latents" and not loss.salience
        return (
            recorded and loss.objective == "teacher_forcing" and (not loss.self_history or loss.self_history_pool > 0)
        )


def train_world_model(config: WorldTrainConfig) -> Path:
    """Train and save a bundle; reset clips come from the validation split.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: for an empty or unreadable dataset, episodes shorter than the window, a missing or truncated
            autoencoder, or a checkpoint in the folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = open_dataset(config.dataset)
    world = new_world(config, recorded)
    distillation = _distillation(config, world)
    if config.frames == "pixels":
        pixels = PixelClipDataModule(
            recorded, config.clip_frames, config.short_episodes, config.run, config.data_workers
        )
        encoder = PixelEncoder(world, recorded.transform, config.augmentation)
        return train(config, world, recorded, pixels, encoder, distillation)
    cache = config.latent_cache or Path(config.autoencoder) / "latents"
    latents = ClipDataModule(
        recorded,
        config.autoencoder,
        cache,
        config.clip_frames,
        config.short_episodes,
        config.run,
        salience=config.loss.salience > 0,
        corrections=config.corrections,
        corrected_share=config.corrected_share,
    )
    return train(config, world, recorded, latents, None, distillation)


def _distillation(config: WorldTrainConfig, world: WorldModel) -> Distillation | None:
    """What to learn from a teacher, where there is one.

    Raises:
        ValueError: if it cannot be read, or speaks of other actions, latents or noise levels than the one that learns.
    """
    folder = config.distillation.teacher
    if folder is None:
        return None
    teacher = WorldModel.from_pretrained(folder)
    for name in ("actions", "frame_size", "autoencoder", "schedule"):
        theirs, ours = getattr(teacher.config, name), getattr(world.config, name)
        if theirs != ours:
            raise ValueError(f"distillation.teacher: expected {name} as in this run, {ours}, got {theirs} in {folder}")
    ours = world.autoencoder.state_dict()
    theirs = teacher.autoencoder.state_dict()  # rounded, and so not quite those of the folder they came from
    if not all(torch.allclose(theirs[name], tensor, rtol=1e-2, atol=1e-3) for name, tensor in ours.items()):
        raise ValueError(f"distillation.teacher: {folder} has another autoencoder; set autoencoder={folder}")
    return Distillation(teacher.network, world.schedule, config.sampling.num_sampling_steps, config.distillation.steps)


def new_world(config: WorldTrainConfig, recorded: RecordedDataset) -> WorldModel:
    """An untrained world model for a dataset, with the trained autoencoder in it.

    Raises:
        ValueError: if autoencoder, dataset and network do not fit each other.
    """
    autoencoder = Autoencoder.from_pretrained(config.autoencoder)
    channels, wanted = autoencoder.config.latent_channels, config.network.in_channels
    if channels != wanted or config.network.out_channels != channels:
        raise ValueError(
            f"network: expected in_channels = out_channels = {channels}, the autoencoder's latent channels, got "
            f"{wanted} and {config.network.out_channels}; change the network or the autoencoder"
        )
    world = WorldModel(
        WorldModelConfig(
            name=config.name,
            actions=recorded.action_spec,
            source_env=recorded.env_id,
            frame_size=recorded.frame_size,
            context_frames=config.context_frames,
            fps=recorded.fps,
            frame_skip=recorded.frame_skip,
            action_block=recorded.action_block,
            dtype=config.dtype,
            network=config.network,
            autoencoder=autoencoder.config,
            schedule=config.schedule,
            sampling=config.sampling,
        )
    )
    world.autoencoder.load_state_dict(autoencoder.state_dict())
    world.autoencoder.eval().requires_grad_(False)
    if config.init_from is not None:
        start = WorldModel.from_pretrained(config.init_from)
        try:
            transplant(world.network, start.network)
        except ValueError as error:
            raise ValueError(
                f"init_from: {config.init_from} has another network than this run's; make `network` the same as in its "
                f"config.yaml, or use train=published for the published models ({error})"
            ) from error
    return world
