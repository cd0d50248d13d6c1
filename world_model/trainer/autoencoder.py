"""Training the autoencoder on recorded frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig
from world_model.data import DatasetConfig
from world_model.trainer.crops import CropConfig, crop_around_contrast, local_contrast
from world_model.trainer.fit import fit
from world_model.trainer.frames import FrameDataModule, FrameDataset, to_float
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepping import SteppedModule


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """What a good reconstruction is.

    Attributes:
        contrast_weight: extra weight of a pixel per unit of difference among its 3x3 neighbours (0..2): small moving
            things are all edges, and the mean over a mostly empty frame would ignore them.
        kl_weight: of the posterior's divergence from a unit Gaussian, per latent element; only to keep latents bounded.
        latent_noise: noise added to training latents, in standard deviations of the batch, so that the decoder
            forgives the denoiser's small errors.
    """

    contrast_weight: float = 2.0
    kl_weight: float = 1e-5
    latent_noise: float = 0.05


@dataclass(frozen=True)
class AutoencoderTrainConfig:
    """A training run of the autoencoder.

    Attributes:
        dataset: folder of a recorded dataset, or how to read one.
        statistics_frames: training frames over which mean and variance of the latents are measured.
    """

    dataset: str | DatasetConfig
    run: RunConfig
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-3))
    statistics_frames: int = 8192

    def __post_init__(self) -> None:
        if self.run.sharded:
            raise ValueError("run.strategy: fsdp is for world models; use ddp for an autoencoder")


def train_autoencoder(config: AutoencoderTrainConfig) -> Path:
    """Train, measure the latents' statistics, save.

    Returns:
        the run's folder, which then holds `autoencoder.safetensors` and `autoencoder.json`.

    Raises:
        ValueError: for an empty or unreadable dataset, a part of the split without episodes, or a checkpoint in the
            folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    module = AutoencoderModule(config)
    data = FrameDataModule(config.dataset, config.run)
    trainer = fit(module, data, config.run)
    folder = Path(config.run.folder)
    if trainer.is_global_zero:
        assert data.train is not None
        model = module.model.to("cpu").eval()
        model.set_latent_statistics(*latent_statistics(model, data.train, config.statistics_frames))
        model.save_pretrained(folder)
    trainer.strategy.barrier()
    return folder


class AutoencoderModule(SteppedModule):
    """Reconstruction of single frames; batches are uint8 `[n h w 3]`."""

    def __init__(self, config: AutoencoderTrainConfig) -> None:
        super().__init__(config.run, config.optimizer)
        self.loss_config = config.loss
        self.crops = config.crops
        self.model = Autoencoder(config.model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        frames, generator = to_float(batch), self.step_generator()
        if self.progress < self.crops.share and 0 < self.crops.size < min(frames.shape[2:]):
            frames = crop_around_contrast(frames, self.crops.size, self.model.config.downsample, generator)
        loss, logs = autoencoder_loss(self.model, frames, self.loss_config, generator)
        self.log_dict({f"train/{name}": value for name, value in logs.items()})
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        frames = to_float(batch)
        reconstruction = self.model.decode(self.model.encode(frames)).float()
        self.log("validation/psnr", psnr(reconstruction, frames).mean(), prog_bar=True, sync_dist=True)


def autoencoder_loss(
    model: Autoencoder, frames: Tensor, config: AutoencoderLossConfig, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Contrast-weighted L1 + L2 of the reconstruction, plus the divergence.

    Args:
        frames: `[n 3 h w]` in [-1, 1].
        generator: a CPU generator; draws the posterior samples and the latent noise.

    Returns:
        the scalar loss, and detached scalars to log.
    """
    posterior = model.posterior(frames)
    mean, std = posterior.mean.float(), posterior.std.float()
    spread = mean.detach().std(dim=(0, 2, 3), keepdim=True)
    draw, disturb = (torch.randn(mean.shape, generator=generator).to(mean) for _ in range(2))
    reconstruction = model.decode_raw(mean + std * draw + config.latent_noise * spread * disturb).float()
    error = reconstruction - frames
    weight = 1 + config.contrast_weight * local_contrast(frames)
    # L1 settles edges on one side or the other, L2 pulls in what is far off.
    reconstruction_loss = (weight * (0.5 * error.abs() + 2 * error.square())).mean() / weight.mean()
    divergence = 0.5 * (mean.square() + std.square() - 1 - posterior.logvar.float()).mean()
    logs = {"reconstruction": reconstruction_loss.detach(), "divergence": divergence.detach()}
    return reconstruction_loss + config.kl_weight * divergence, logs


def psnr(frames: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB per frame `[n]`, of frames `[n 3 h w]` in [-1, 1]."""
    error = ((frames.clamp(-1, 1) - target) / 2).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(1e-10))


@torch.inference_mode()
def latent_statistics(model: Autoencoder, frames: FrameDataset, num_frames: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[c]` of the raw latents over `num_frames` frames spread over the dataset."""
    chosen = frames.frames[:: max(1, len(frames) // num_frames)]
    latents = torch.cat([model.posterior(to_float(part)).mode() for part in chosen.split(256)])
    return latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)).clamp_min(1e-6)
