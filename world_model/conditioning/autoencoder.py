"""Frames to latents and back: a small diffusers `AutoencoderKL` with latents of zero mean and unit variance.

At 64x64 the blocks at full resolution would cost more than the rest of the decoder together, so frames are first folded
into patches (`patch_size`): a 64x64x3 frame enters the convolutions as 32x32x12 and leaves them the same way. Folding
loses nothing, and each output pixel gets its own channel, which keeps aliased edges sharp.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS_NAME = "autoencoder.safetensors"
CONFIG_NAME = "autoencoder.json"


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the autoencoder; the defaults are those of the shipped 64x64 PushT model.

    Attributes:
        latent_channels: Channels of a latent.
        block_out_channels: Channels per resolution, finest first; every resolution after the first halves the size.
        layers_per_block: Residual blocks per resolution (the decoder has one more, as in diffusers).
        norm_num_groups: Groups of every group norm; must divide each of `block_out_channels`.
        mid_attention: Self-attention at the coarsest resolution.
        patch_size: Frames are folded into patches of this many pixels squared before the first convolution.
        frame_channels: Colours of a frame.
        quant_conv: One more linear layer on either side of the latents, as the autoencoders of latent diffusion have.
    """

    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (32, 48)
    layers_per_block: int = 1
    norm_num_groups: int = 8
    mid_attention: bool = False
    patch_size: int = 2
    frame_channels: int = 3
    quant_conv: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_out_channels", tuple(self.block_out_channels))
        bad = [channels for channels in self.block_out_channels if channels % self.norm_num_groups]
        if bad or not self.block_out_channels:
            raise ValueError(
                f"autoencoder block_out_channels: expected multiples of norm_num_groups={self.norm_num_groups}, got "
                f"{self.block_out_channels}; change one of the two"
            )
        if self.patch_size < 1:
            raise ValueError(f"autoencoder patch_size: expected 1 or more, got {self.patch_size}")

    @property
    def downsample(self) -> int:
        """Pixels of a frame per latent cell, along one side."""
        return self.patch_size * 2 ** (len(self.block_out_channels) - 1)


class Autoencoder(nn.Module):
    """Encodes frames `[n 3 h w]` in [-1, 1] to latents `[n c h/f w/f]` with zero mean, unit variance, and back.

    The statistics live in the buffers `latent_mean` and `latent_std` (`[c]`) and are set once, after training, by
    `set_latent_statistics`; until then the latents are those of the raw `AutoencoderKL`.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        folded_channels = config.frame_channels * config.patch_size**2
        levels = len(config.block_out_channels)
        self.vae = AutoencoderKL(
            in_channels=folded_channels,
            out_channels=folded_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            mid_block_add_attention=config.mid_attention,
            use_quant_conv=config.quant_conv,
            use_post_quant_conv=config.quant_conv,
        )
        for module in self.vae.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = True  # of a norm's output, which nothing else reads
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Autoencoder:
        exact = {name: getattr(self, name) for name in ("latent_mean", "latent_std")}
        super()._apply(fn, recurse)
        # Half precision would rescale all latents: it turns the published 5.49 into 5.5.
        for name, value in exact.items():
            moved = getattr(self, name)
            setattr(self, name, (moved if value.is_meta else value).to(moved.device, torch.float32))
        return self

    def encode(self, frames: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None) -> Tensor:
        """Latents `[n c h/f w/f]` of frames `[n 3 h w]` in [-1, 1].

        Args:
            frames: Float frames.
            generator: Draws from the posterior; without one the posterior's mean is returned.
            noise: Standard normal `[n c h/f w/f]` to draw from the posterior with, in place of a generator.

        Raises:
            ValueError: wrong number of axes or channels, a size that `config.downsample` does not divide, or noise of
                another shape than the latents'.
        """
        posterior = self.posterior(frames)
        if noise is not None:
            if noise.shape != posterior.mean.shape:
                raise ValueError(f"noise: expected {list(posterior.mean.shape)}, got {list(noise.shape)}")
            raw = posterior.mean + posterior.std * noise.to(posterior.mean)
        else:
            raw = posterior.mode() if generator is None else posterior.sample(generator=generator)
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Frames `[n 3 h w]`, not clamped to [-1, 1], of latents `[n c h/f w/f]`.

        Raises:
            ValueError: wrong number of axes or channels.
        """
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents: expected [n {self.config.latent_channels} h w], got {list(latents.shape)}; fold time into "
                "the batch first"
            )
        raw = latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return self.decode_raw(raw.to(latents.dtype))

    def posterior(self, frames: Tensor) -> DiagonalGaussianDistribution:
        """The encoder's Gaussian over raw (not yet normalised) latents; training needs its variance."""
        size = self.config.downsample
        if frames.ndim != 4 or frames.shape[1] != self.config.frame_channels:
            raise ValueError(
                f"frames: expected [n {self.config.frame_channels} h w], got {list(frames.shape)}; fold time into the "
                "batch and put channels before height and width"
            )
        if frames.shape[2] % size or frames.shape[3] % size:
            raise ValueError(
                f"frames: expected height and width divisible by {size}, got {tuple(frames.shape[2:])}; resize or pad"
            )
        if not frames.is_floating_point():
            raise ValueError(f"frames: expected floats in [-1, 1], got {frames.dtype}; use frames / 127.5 - 1")
        return self.vae.encode(F.pixel_unshuffle(frames, self.config.patch_size), return_dict=False)[0]

    def decode_raw(self, raw_latents: Tensor) -> Tensor:
        """Frames `[n 3 h w]` of latents as the encoder's Gaussian gives them, without the statistics."""
        return F.pixel_shuffle(self.vae.decode(raw_latents, return_dict=False)[0], self.config.patch_size)

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Fix mean and standard deviation `[c]` of the raw latents over the training frames."""
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `autoencoder.safetensors` and `autoencoder.json`; each appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{CONFIG_NAME}.tmp"
        temporary.write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        os.replace(temporary, folder / CONFIG_NAME)
        temporary = folder / f".{WEIGHTS_NAME}.tmp"
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, temporary)
        temporary.chmod((folder / CONFIG_NAME).stat().st_mode)  # safetensors makes files for their owner only
        os.replace(temporary, folder / WEIGHTS_NAME)
        return folder

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Autoencoder:
        """Read what `save_pretrained` wrote, or the autoencoder out of a world model's folder, in evaluation mode.

        Raises:
            ValueError: a file is missing, truncated or belongs to another architecture.
        """
        folder = Path(folder)
        if (folder / "model.safetensors").is_file():
            from world_model.model import WorldModel

            return WorldModel.from_pretrained(folder).autoencoder
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            if not (folder / name).is_file():
                raise ValueError(
                    f"autoencoder folder {folder}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, {name} is missing; train "
                    "one with `v2w train train=autoencoder` or correct the path"
                )
        try:
            fields: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text())
            model = cls(AutoencoderConfig(**fields))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{folder / CONFIG_NAME}: not an autoencoder's configuration ({error})") from error
        try:
            state = load_file(folder / WEIGHTS_NAME)
        except SafetensorError as error:
            raise ValueError(
                f"{folder / WEIGHTS_NAME}: not a readable safetensors file ({error}); it is truncated or foreign, copy "
                "or train it again"
            ) from error
        model._load_strictly(state, folder / WEIGHTS_NAME)
        return model.eval()

    def _load_strictly(self, state: dict[str, Tensor], source: Path) -> None:
        own = self.state_dict()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
        if missing or unexpected or wrong:
            shapes = [f"{n} expected {list(own[n].shape)} got {list(state[n].shape)}" for n in sorted(wrong)[:3]]
            raise ValueError(
                f"{source}: weights do not fit {self.config}: missing {missing[:3]}, unexpected {unexpected[:3]}, "
                f"wrong shapes {shapes}; the json beside the weights must be the one they were trained with"
            )
        self.load_state_dict(state)
