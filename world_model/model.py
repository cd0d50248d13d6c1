"""The world model: frames in, a state you can step, frames out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig
from world_model.diffusion.guidance import guided
from world_model.diffusion.parameterization import add_noise
from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.samplers import Spacing, ddim_step, ddim_table
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.network.cache import NetworkCache
from world_model.network.unet import CausalUNet, UNetConfig
from world_model.types import ActionSpec, Conditioning, Generators, WorldState, incoming_actions

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SamplingConfig:
    """How one new frame is denoised.

    Attributes:
        num_sampling_steps: network passes per frame.
        guidance_scale: 1 is off; above 1 the newest action is stressed, at the price of one more frame per pass.
        guidance_rescale: 0..1, how far guidance keeps the prediction's standard deviation.
        eta: 0 is deterministic DDIM, 1 draws fresh noise in every step.
        history_noise_level: level (0..999) at which past frames are shown to the network.
        spacing: ``trailing`` starts at pure noise, ``uniform`` below it.
    """

    num_sampling_steps: int = 1
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    eta: float = 0.0
    history_noise_level: int = 0
    spacing: Spacing = "trailing"

    def __post_init__(self) -> None:
        if self.num_sampling_steps < 1:
            raise ValueError(f"num_sampling_steps: expected at least 1, got {self.num_sampling_steps}")
        if not 0 <= self.history_noise_level < 1000:
            raise ValueError(f"history_noise_level: expected 0..999, got {self.history_noise_level}")
        for name, upper in (("guidance_rescale", 1.0), ("eta", 1.0)):
            if not 0 <= getattr(self, name) <= upper:
                raise ValueError(f"{name}: expected 0..{upper:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything but the weights.

    Attributes:
        name: short name, used in reports.
        actions: the action space of the world.
        source_env: Gymnasium id of the simulator that was recorded, or another description of the data.
        frame_size: height and width of a frame in pixels.
        context_frames: recorded frames that a dream starts from by default.
        fps: frames per second of the recordings.
        frame_skip: simulator steps per action.
        dtype: weight type to run in by default, ``float32`` or ``bfloat16``.
    """

    name: str
    actions: ActionSpec
    source_env: str = ""
    frame_size: tuple[int, int] = (64, 64)
    context_frames: int = 4
    fps: float = 10.0
    frame_skip: int = 1
    dtype: str = "bfloat16"
    network: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @property
    def window(self) -> int:
        """Frames the network sees at once, the newest included."""
        return self.network.window

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """``(c, h, w)`` of one latent frame."""
        f = self.autoencoder.downsample
        return (self.autoencoder.latent_channels, self.frame_size[0] // f, self.frame_size[1] // f)


class WorldModel(nn.Module):
    """An autoencoder and a causal denoiser, stepped one frame at a time.

    Nothing here turns gradients off: wrap calls in :func:`torch.no_grad` unless you want them. All state is in
    the :class:`WorldState` values passed in and out.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.network = CausalUNet(config.network, config.actions)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.schedule = Schedule(config.schedule)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        return self.network.stem.weight.device

    # -- frames and latents

    def encode(self, frames: Tensor) -> Tensor:
        """``[b t 3 h w]`` in [-1, 1] -> latents ``[b t c h w]``, float32."""
        if frames.ndim != 5 or tuple(frames.shape[-2:]) != tuple(self.config.frame_size):
            h, w = self.config.frame_size
            raise ValueError(f"frames: expected shape [b t 3 {h} {w}], got {tuple(frames.shape)}")
        weights = next(self.autoencoder.parameters())
        flat = rearrange(frames, "b t c h w -> (b t) c h w").to(weights)
        return rearrange(self.autoencoder.encode(flat), "(b t) c h w -> b t c h w", b=frames.shape[0]).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``[b t c h w]`` -> frames ``[b t 3 h w]`` in [-1, 1], float32."""
        weights = next(self.autoencoder.parameters())
        flat = rearrange(latents, "b t c h w -> (b t) c h w").to(weights).contiguous(memory_format=torch.channels_last)
        frames = self.autoencoder.decode(flat).clamp(-1, 1)
        return rearrange(frames, "(b t) c h w -> b t c h w", b=latents.shape[0]).float()

    # -- stepping

    def init_state(self, latents: Tensor, actions: Tensor, generator: Generators) -> WorldState:
        """Take in context frames.

        Args:
            latents: ``[b t c h w]``, any ``t >= 1``; only the last ``window`` frames are read.
            actions: ``[b t-1 a]``, the actions between them.
            generator: one, or one per row; draws the history noise.

        Raises:
            ValueError: if the shapes do not fit each other or the model.
        """
        self._check_context(latents, actions)
        aligned, mask = incoming_actions(actions)
        latents, aligned, mask = (x[:, -self.config.window :] for x in (latents, aligned, mask))
        cache: NetworkCache | None = NetworkCache()
        if latents.shape[1] > 1:
            past, levels = self._as_history(latents[:, :-1], self.config.sampling.history_noise_level, generator)
            cond = Conditioning(actions=aligned[:, :-1], action_mask=mask[:, :-1])
            _, cache = self.network(past, levels, cond, cache)
        assert cache is not None
        return WorldState(cache, latents[:, -1], aligned[:, -1], mask[:, -1])

    def step(
        self, state: WorldState, action: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        """Imagine the next frame.

        The newest frame of ``state`` enters the memory in the same network pass that takes the first look at the
        new one, so a frame costs ``num_sampling_steps`` passes.

        Args:
            action: ``[b a]``, applied at the newest frame.
            generator: one, or one per row.
            sampling: overrides the model's own.

        Returns:
            the next state, and its newest frame ``[b c h w]`` (clean latent, float32).
        """
        if action.shape != (state.batch_size, self.config.actions.size):
            expected = (state.batch_size, self.config.actions.size)
            raise ValueError(f"action: expected shape {expected}, got {tuple(action.shape)}")
        sampling = sampling or self.config.sampling
        denoiser = guided(self.network, sampling.guidance_scale, sampling.guidance_rescale)
        table = ddim_table(self.schedule, sampling.num_sampling_steps, sampling.spacing, sampling.eta)

        pending, past_level = self._as_history(state.latent[:, None], sampling.history_noise_level, generator)
        cond = Conditioning(
            actions=torch.stack([state.action, action.to(state.action)], dim=1),
            action_mask=torch.stack([state.action_mask, torch.ones_like(state.action_mask)], dim=1),
        )
        x = draw_noise(pending.shape, generator, pending.device)
        cache, newest = state.cache, [1]
        for step in reversed(range(len(table))):
            levels = torch.full_like(past_level, table.levels[step])
            if step == len(table) - 1:  # commit the pending frame on the way
                v, committed = denoiser(
                    torch.cat([pending, x], 1), torch.cat([past_level, levels], 1), cond, cache, None, 1
                )
                assert committed is not None
                cache, v = committed, v[:, 1:]
            else:
                v, _ = denoiser(x, levels, cond.frames(newest), cache, None, 0)
            noise = draw_noise(x.shape, generator, x.device) if table.sigmas[step] else None
            x = ddim_step(table, step, x, v, self.schedule.signal(levels), noise)
        latent = x[:, 0]
        return WorldState(cache, latent, cond.actions[:, 1], cond.action_mask[:, 1]), latent  # type: ignore[index]

    def rollout(
        self, state: WorldState, actions: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        """Step through ``actions [b n a]``; returns the last state and all new latents ``[b n c h w]``."""
        latents = []
        for action in actions.unbind(1):
            state, latent = self.step(state, action, generator, sampling)
            latents.append(latent)
        return state, torch.stack(latents, dim=1)

    def _as_history(self, latents: Tensor, level: int, generator: Generators) -> tuple[Tensor, Tensor]:
        """Past frames as the network sees them: at a small noise level, the noise drawn once per frame."""
        levels = torch.full(latents.shape[:2], level, device=latents.device)
        noise = draw_noise(latents.shape, generator, latents.device)
        return add_noise(latents * self.schedule.rescale(levels), noise, self.schedule.signal(levels)), levels

    def _check_context(self, latents: Tensor, actions: Tensor) -> None:
        if latents.ndim != 5 or tuple(latents.shape[2:]) != self.config.latent_shape or not latents.shape[1]:
            c, h, w = self.config.latent_shape
            raise ValueError(f"latents: expected shape [b t {c} {h} {w}] with t >= 1, got {tuple(latents.shape)}")
        expected = (latents.shape[0], latents.shape[1] - 1, self.config.actions.size)
        if tuple(actions.shape) != expected:
            raise ValueError(
                f"actions: expected one between each two frames, shape {expected}, got {tuple(actions.shape)}"
            )

    # -- on disk

    def save_pretrained(
        self, folder: str | Path, episodes: dict[str, np.ndarray] | None = None, card: str | None = None
    ) -> Path:
        """Write a bundle; see :mod:`world_model.bundle`."""
        from world_model import bundle

        return bundle.save(self, Path(folder), episodes, card)

    @classmethod
    def from_pretrained(
        cls, path_or_hub_id: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> WorldModel:
        """Read a bundle from a folder or the Hugging Face hub, in evaluation mode, gradients of weights off.

        Raises:
            ValueError: naming what is missing, truncated or foreign, and what to do.
        """
        from world_model import bundle

        return bundle.load(path_or_hub_id).to(device=device, dtype=dtype).eval().requires_grad_(False)

    def with_sampling(self, **changes: float | int | str | None) -> SamplingConfig:
        """This model's sampling settings with some changed; ``None`` leaves one as it is."""
        return replace(self.config.sampling, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
