"""The world model: frames in, a state you can step, frames out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig
from world_model.conditioning.conditioner import Conditioner, ConditionerConfig
from world_model.diffusion.guidance import guided
from world_model.diffusion.parameterization import add_noise
from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.samplers import DDIMTable, Spacing, ddim_step, ddim_table
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.diffusion.window_sampler import WindowSampler
from world_model.network.cache import NetworkCache
from world_model.network.normalization import TemporalGroupNorm, TemporalNorm
from world_model.network.unet import CausalUNet, UNetConfig
from world_model.recompute import imagine, remember
from world_model.types import ActionSpec, Conditioning, Generators, Scene, WorldState, incoming_actions

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
        mode: ``reference`` samples as the published code does, for its weights and numbers: past frames are not
            rescaled before they are noised, at the second lowest level that the sampler visits; guidance is rescaled by
            deviations over the history too; the window's first frame gets a zero action that counts as known; the last
            step leaves a little noise. It needs a network with ``temporal_norm="clip"``. ``standard`` does none of it.
    """

    num_sampling_steps: int = 1
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    eta: float = 0.0
    history_noise_level: int = 0
    spacing: Spacing = "trailing"
    mode: Literal["standard", "reference"] = "standard"

    def __post_init__(self) -> None:
        if self.mode not in ("standard", "reference"):
            raise ValueError(f"mode: expected standard or reference, got {self.mode!r}")
        if self.mode == "reference" and self.num_sampling_steps < 2:
            raise ValueError(
                "num_sampling_steps: the reference mode needs at least 2, since history is noised at the second lowest "
                f"level; got {self.num_sampling_steps}; use more steps or mode='standard'"
            )
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
        conditioner: of models that also see tokens and the latent of the first frame (DynamiCrafter's); else ``None``.
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
    conditioner: ConditionerConfig | None = None

    def __post_init__(self) -> None:
        if self.sampling.mode == "reference" and self.network.temporal_norm != "clip":
            raise ValueError(
                f"sampling.mode: reference needs temporal_norm='clip', got {self.network.temporal_norm!r}; use standard"
            )

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
        self.conditioner = None if config.conditioner is None else Conditioner(config.conditioner)
        self.schedule = Schedule(config.schedule)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        return self.network.stem.weight.device

    # -- frames and latents

    def encode(self, frames: Tensor, generator: Generators | None = None) -> Tensor:
        """``[b t 3 h w]`` in [-1, 1] -> latents ``[b t c h w]``, float32.

        Args:
            generator: one, or one per row: draws from the autoencoder's posterior; without it, its mean is taken.
        """
        if frames.ndim != 5 or tuple(frames.shape[-2:]) != tuple(self.config.frame_size):
            h, w = self.config.frame_size
            raise ValueError(f"frames: expected shape [b t 3 {h} {w}], got {tuple(frames.shape)}")
        weights = next(self.autoencoder.parameters())
        flat = rearrange(frames, "b t c h w -> (b t) c h w").to(weights)
        noise = None
        if generator is not None:
            shape = (*frames.shape[:2], *self.config.latent_shape)
            noise = draw_noise(shape, generator, frames.device).flatten(0, 1)
        return rearrange(
            self.autoencoder.encode(flat, noise=noise), "(b t) c h w -> b t c h w", b=frames.shape[0]
        ).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``[b t c h w]`` -> frames ``[b t 3 h w]`` in [-1, 1], float32."""
        weights = next(self.autoencoder.parameters())
        flat = rearrange(latents, "b t c h w -> (b t) c h w").to(weights).contiguous(memory_format=torch.channels_last)
        frames = self.autoencoder.decode(flat).clamp(-1, 1)
        return rearrange(frames, "(b t) c h w -> b t c h w", b=latents.shape[0]).float()

    # -- stepping

    def start(
        self, frames: Tensor, actions: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> WorldState:
        """Take in context frames as pixels: :meth:`encode`, :meth:`scene` and :meth:`init_state` in one.

        Args:
            frames: ``[b t 3 h w]`` in [-1, 1], any ``t >= 1``.
            actions: ``[b t-1 a]``, the actions between them.
            generator: one, or one per row.
            sampling: as the steps that follow will be given it.
        """
        sampled = (sampling or self.config.sampling).mode == "reference"
        latents = self.encode(frames, generator if sampled else None)
        return self.init_state(latents, actions, generator, sampling, self.scene(frames[:, 0], latents[:, 0], sampling))

    def scene(self, frame: Tensor, latent: Tensor, sampling: SamplingConfig | None = None) -> Scene | None:
        """What the first frame (``[b 3 h w]``, and its latent ``[b c h w]``) tells the network, if it listens."""
        if self.conditioner is None:
            return None
        context, dropped = self.conditioner(frame), None
        if (sampling or self.config.sampling).mode == "reference":
            dropped = self.conditioner(self.decode(latent[:, None])[:, 0])
        return Scene(latent, context, dropped)

    def init_state(
        self,
        latents: Tensor,
        actions: Tensor,
        generator: Generators,
        sampling: SamplingConfig | None = None,
        scene: Scene | None = None,
    ) -> WorldState:
        """Take in context frames as latents.

        Args:
            latents: ``[b t c h w]``, any ``t >= 1``; only the last ``window`` frames are read.
            actions: ``[b t-1 a]``, the actions between them.
            generator: one, or one per row; draws the history noise.
            sampling: overrides the model's own; only its history noise level matters here.
            scene: for models with a conditioner.

        Raises:
            ValueError: if the shapes do not fit each other or the model.
        """
        self._check_context(latents, actions)
        if self.conditioner is not None and scene is None:
            raise ValueError("scene: this model is conditioned on the first frame; use start(frames, ...)")
        sampling = sampling or self.config.sampling
        aligned, mask = incoming_actions(actions)
        latents, aligned, mask = (x[:, -self.config.window :] for x in (latents, aligned, mask))
        cache: NetworkCache | None = NetworkCache()
        if latents.shape[1] > 1:
            past, levels = self._as_history(latents[:, :-1], sampling, generator)
            if self.recomputes:
                cache = remember(NetworkCache(), past, aligned[:, :-1], mask[:, :-1], self.config.window - 1)
            else:
                cond = _conditioning(aligned[:, :-1], mask[:, :-1], scene)
                _, cache = self.network(past, levels, cond, cache)
        assert cache is not None
        return WorldState(cache, latents[:, -1], aligned[:, -1], mask[:, -1], scene)

    @property
    def recomputes(self) -> bool:
        """Whether a step passes the whole window again and again instead of new frames only."""
        return self.config.network.temporal_norm == "clip"

    def step(
        self, state: WorldState, action: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        """Imagine the next frame.

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
        table = self._table(sampling)
        pending, past_level = self._as_history(state.latent[:, None], sampling, generator)
        x = draw_noise(pending.shape, generator, pending.device)
        advance = self._recompute if self.recomputes else self._stream
        cache, latent = advance(state, action.to(state.action), pending, past_level, x, table, sampling, generator)
        return WorldState(
            cache, latent, action.to(state.action), torch.ones_like(state.action_mask), state.scene
        ), latent

    def _stream(
        self,
        state: WorldState,
        action: Tensor,
        pending: Tensor,
        past_level: Tensor,
        x: Tensor,
        table: DDIMTable,
        sampling: SamplingConfig,
        generator: Generators,
    ) -> tuple[NetworkCache, Tensor]:
        """Pass the new frame only. The newest frame of ``state`` enters the memory in the pass that takes the first
        look at the new one, so a frame costs ``num_sampling_steps`` passes."""
        denoiser = guided(self.network, sampling.guidance_scale, sampling.guidance_rescale)
        actions = torch.stack([state.action, action], dim=1)
        mask = torch.stack([state.action_mask, torch.ones_like(state.action_mask)], dim=1)
        cond = _conditioning(actions, mask, state.scene)
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
        return cache, x[:, 0]

    def _recompute(
        self,
        state: WorldState,
        action: Tensor,
        pending: Tensor,
        past_level: Tensor,
        x: Tensor,
        table: DDIMTable,
        sampling: SamplingConfig,
        generator: Generators,
    ) -> tuple[NetworkCache, Tensor]:
        """Pass the whole window in every denoising step."""
        limit = self.config.window - 1
        cache = remember(state.cache, pending, state.action[:, None], state.action_mask[:, None], limit)
        known = sampling.mode == "reference"
        sampler = self._window_sampler(table, sampling)
        level = int(past_level[0, 0])
        return cache, imagine(sampler, cache, level, action, x, state.scene, known, generator)

    def imagine_clip(
        self, frame: Tensor, actions: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> Tensor:
        """All frames of a clip together, at one common noise level (the paper's non-autoregressive setting).

        Args:
            frame: ``[b 3 h w]`` in [-1, 1], what the clip should start with; seen by models with a conditioner only.
            actions: ``[b t-1 a]``, between the ``t`` frames.

        Returns:
            latents ``[b t c h w]``, the first one imagined like the others.
        """
        sampling = sampling or self.config.sampling
        latent = self.encode(frame[:, None], generator if sampling.mode == "reference" else None)[:, 0]
        scene = self.scene(frame, latent, sampling)
        aligned, mask = incoming_actions(actions)
        if sampling.mode == "reference":
            mask = torch.ones_like(mask)
        cond = _conditioning(aligned, mask, scene)
        dropped = replace(cond, action_mask=torch.zeros_like(mask))
        if scene is not None and scene.dropped_context is not None:
            dropped = replace(dropped, context=scene.dropped_context)
        x = draw_noise((*aligned.shape[:2], *self.config.latent_shape), generator, frame.device)
        draw = partial(draw_noise, generator=generator, device=frame.device)
        return self._window_sampler(self._table(sampling), sampling).together(x, cond, dropped, draw)

    def rollout(
        self, state: WorldState, actions: Tensor, generator: Generators, sampling: SamplingConfig | None = None
    ) -> tuple[WorldState, Tensor]:
        """Step through ``actions [b n a]``; returns the last state and all new latents ``[b n c h w]``."""
        latents = []
        for action in actions.unbind(1):
            state, latent = self.step(state, action, generator, sampling)
            latents.append(latent)
        return state, torch.stack(latents, dim=1)

    def _table(self, sampling: SamplingConfig) -> DDIMTable:
        full = sampling.mode == "standard"
        return ddim_table(self.schedule, sampling.num_sampling_steps, sampling.spacing, sampling.eta, full)

    def _window_sampler(self, table: DDIMTable, sampling: SamplingConfig) -> WindowSampler:
        over: Literal["all", "newest"] = "all" if sampling.mode == "reference" else "newest"
        return WindowSampler(
            self.network, self.schedule, table, sampling.guidance_scale, sampling.guidance_rescale, over
        )

    def _as_history(self, latents: Tensor, sampling: SamplingConfig, generator: Generators) -> tuple[Tensor, Tensor]:
        """Past frames as the network sees them: at a small noise level, the noise drawn once per frame."""
        reference = sampling.mode == "reference"
        level = self._table(sampling).levels[1] if reference else sampling.history_noise_level
        levels = torch.full(latents.shape[:2], level, device=latents.device)
        noise = draw_noise(latents.shape, generator, latents.device)
        scaled = latents if reference else latents * self.schedule.rescale(levels)
        return add_noise(scaled, noise, self.schedule.signal(levels)), levels

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
        """Read a bundle or a published checkpoint, in evaluation mode, gradients of weights off.

        Args:
            path_or_hub_id: a bundle's folder, a hub id ``owner/name``, a checkpoint file of any published format, or
                the name of a published model, such as ``thuml/Vid2World-RT1``; see
                :mod:`world_model.checkpoints.load`.

        Raises:
            ValueError: naming what is missing, truncated or foreign, and what to do.
        """
        from world_model.checkpoints.load import load

        return load(path_or_hub_id, device=device, dtype=dtype)

    def set_window(self, frames: int) -> None:
        """Let the network see so many frames at once, the newest included, in place; no weight depends on it."""
        if frames < 2:
            raise ValueError(f"window: expected at least 2 frames, got {frames}")
        network = replace(self.config.network, window=frames)
        self.network.config = network
        self.config = replace(self.config, network=network)

    def set_temporal_norm(self, norm: TemporalNorm) -> None:
        """Take the statistics of the temporal layers' norms over other frames, in place.

        ``prefix`` and ``frame`` let weights trained with ``clip`` be streamed; outputs change. Sampling then leaves the
        reference mode, which cannot be streamed.
        """
        for module in self.network.modules():
            if isinstance(module, TemporalGroupNorm):
                module.over = norm
        network = replace(self.config.network, temporal_norm=norm)
        sampling = self.config.sampling
        if norm != "clip" and sampling.mode == "reference":
            sampling = replace(sampling, mode="standard")
        self.network.config = network
        self.config = replace(self.config, network=network, sampling=sampling)

    def with_sampling(self, **changes: float | int | str | None) -> SamplingConfig:
        """This model's sampling settings with some changed; ``None`` leaves one as it is."""
        return replace(self.config.sampling, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]


def _conditioning(actions: Tensor, mask: Tensor, scene: Scene | None) -> Conditioning:
    """Of ``f`` frames; the scene is the same for all of them."""
    if scene is None:
        return Conditioning(actions, mask)
    concat = scene.concat[:, None].expand(-1, actions.shape[1], -1, -1, -1)
    return Conditioning(actions, mask, scene.context, concat)
