"""Training the world model on latents of recorded episodes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from world_model.conditioning.autoencoder import Autoencoder
from world_model.data import RecordedDataset, read_minari
from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.schedule import ScheduleConfig
from world_model.model import SamplingConfig, WorldModel, WorldModelConfig
from world_model.network.unet import UNetConfig
from world_model.trainer.averaging import WeightEMA
from world_model.trainer.card import card
from world_model.trainer.clips import ClipDataModule
from world_model.trainer.fit import fit
from world_model.trainer.latents import LatentClip
from world_model.trainer.samples import SampleConfig, Samples, validation_clips
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepping import SteppedModule


@dataclass(frozen=True)
class WorldTrainConfig:
    """A training run of the world model.

    Attributes:
        name: of the model, used in reports.
        dataset: folder of a recorded dataset.
        autoencoder: folder of a trained autoencoder.
        window: frames per training clip; None for the network's window.
        context_frames: recorded frames that a dream starts from by default.
        short_episodes: what to do with episodes shorter than the window: "error" or "skip".
        init_from: bundle folder whose network the training starts from; None starts from random weights. To go on with
            a killed run nothing is needed but its folder.
        ema_decay: of the averaged weights that are validated and saved; 0 is off.
        latent_cache: folder for the encoded dataset; None for `latents` in the autoencoder's, where the next run
            finds it too.
        reset_clips: validation clips that ship with the model as starts.
        reset_frames: frames of each; None for `context_frames`.
        dtype: weight type the bundle asks to be run in.
    """

    name: str
    dataset: str
    autoencoder: str
    run: RunConfig
    network: UNetConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-4, warmup_steps=500, weight_decay=0.01)
    )
    samples: SampleConfig = field(default_factory=SampleConfig)
    window: int | None = None
    context_frames: int = 4
    short_episodes: Literal["error", "skip"] = "error"
    init_from: str | None = None
    ema_decay: float = 0.999
    latent_cache: str | None = None
    reset_clips: int = 32
    reset_frames: int | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"


def train_world_model(config: WorldTrainConfig) -> Path:
    """Train and save a bundle with the averaged weights; reset clips come from the validation split.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: for an empty or unreadable dataset, episodes shorter than the window, a missing or truncated
            autoencoder, or a checkpoint in the folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = read_minari(config.dataset)
    world = new_world(config, recorded)
    module = WorldModelModule(world, config)
    folder = Path(config.run.folder)
    cache = config.latent_cache or Path(config.autoencoder) / "latents"
    window = config.window or config.network.window
    data = ClipDataModule(recorded, config.autoencoder, cache, window, config.short_episodes, config.run)
    average = WeightEMA(config.ema_decay)
    samples = [Samples(world, recorded, config.samples, folder / "samples")] if config.samples.every else []
    trainer = fit(module, data, config.run, [*samples, average])
    average.apply(module)
    if trainer.is_global_zero:
        facts = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("validation/")}
        text = card(config, recorded, trainer.global_step, module.seconds, facts)
        save_bundle(folder / "bundle", world, recorded, config, text)
    trainer.strategy.barrier()
    return folder / "bundle"


class WorldModelModule(SteppedModule):
    """The denoiser's loss on batches of `LatentClip`; only the network is a submodule, so only it is averaged."""

    def __init__(self, world: WorldModel, config: WorldTrainConfig) -> None:
        super().__init__(config.run, config.optimizer)
        self.network = world.network
        self.schedule = world.schedule
        self.loss_config = config.loss

    def training_step(self, batch: LatentClip, batch_idx: int) -> Tensor:
        loss, logs = self._loss(batch, self.step_generator())
        self.log_dict({f"train/{name}": value for name, value in logs.items() if name != "loss"})
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: LatentClip, batch_idx: int) -> None:
        # The same levels and noise every time, or the curve would show the draw and not the model.
        loss, logs = self._loss(batch, torch.Generator().manual_seed(batch_idx))
        size = len(batch["latents"])
        self.log_dict({f"validation/{n}": v for n, v in logs.items() if n != "loss"}, sync_dist=True, batch_size=size)
        self.log("validation/loss", loss, prog_bar=True, sync_dist=True, batch_size=size)

    def _loss(self, batch: LatentClip, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        return training_loss(
            self.network, self.schedule, batch["latents"], batch["actions"], self.loss_config, generator
        )


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
        if replace(start.config.network, dropout=0.0) != replace(config.network, dropout=0.0):
            raise ValueError(
                f"init_from: {config.init_from} has another network than this run's; make `network` the same as in its "
                "config.yaml"
            )
        world.network.load_state_dict(start.network.state_dict())
    return world


def save_bundle(
    folder: Path, world: WorldModel, recorded: RecordedDataset, config: WorldTrainConfig, text: str
) -> Path:
    """Write the bundle with reset clips of the validation split."""
    length = config.reset_frames or config.context_frames
    frames, actions = validation_clips(recorded, config.reset_clips, length)
    world.to("cpu")
    episodes = {"frames": frames.numpy(), "actions": recorded.action_spec.to_native(actions)}
    return world.save_pretrained(folder, episodes, text)
