"""The world model: frames in, a state you can step, frames out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from world_model.action_prior import ActionPrior
from world_model.conditioning.autoencoder import Autoencoder
from world_model.conditioning.conditioner import Conditioner
from world_model.config import SamplingConfig, WorldModelConfig
from world_model.diffusion.guidance import guided
from world_model.diffusion.parameterization import add_noise
from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.samplers import DDIMTable, ddim_table
from world_model.diffusion.schedule import Schedule
from world_model.diffusion.window_sampler import WindowSampler
from world_model.network.cache import NetworkCache
from world_model.network.normalization import TemporalGroupNorm, TemporalNorm
from world_model.network.unet import CausalUNet
from world_model.next_frame import NextFrame
from world_model.recompute import recompute, remember, without_actions
from world_model.reward_head import RewardHead
from world_model.state_probe import StateProbe
from world_model.streaming import stream
from world_model.types import Generators, Scene, WorldState, conditioning, incoming_actions

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SamplingConfig", "WorldModel", "WorldModelConfig"]


class WorldModel(nn.Module):
    """An autoencoder and a causal denoiser, stepped one frame at a time; where they were trained, a reward head, a
    state probe and an action prior.

    Nothing here turns gradients off: wrap calls in :func:`torch.no_grad` unless you want them. All state is in
    the :class:`WorldState` values passed in and out.

    Attributes:
        recomputes: whether a step passes the whole window again and again instead of new frames only. Networks with
            ``temporal_norm="clip"`` must; others may, which yields the same until the window slides and costs more.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.network = CausalUNet(config.network, config.actions)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.conditioner = None if config.conditioner is None else Conditioner(config.conditioner)
        self.reward_head: RewardHead | None = None
        if config.reward_head is not None:
            self.reward_head = RewardHead(config.reward_head, config.actions, config.latent_shape)
        self.state_probe: StateProbe | None = None
        if config.state_probe is not None:
            self.state_probe = StateProbe(config.state_probe, config.latent_shape)
        self.action_prior: ActionPrior | None = None
        if config.action_prior is not None and config.state_probe is not None:
            native = config.actions.single(config.action_block)
            self.action_prior = ActionPrior(config.action_prior, config.state_probe, native)
        self.schedule = Schedule(config.schedule)
        self.recomputes = config.network.temporal_norm == "clip"
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
            latents: ``[b t c h w]``, any ``t >= 1``; the network reads the last ``window`` frames, the head all.
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
        memory = None if self.reward_head is None else self.reward_head.sequence(latents, actions)[:, -1]
        aligned, mask = incoming_actions(actions)
        latents, aligned, mask = (x[:, -self.config.window :] for x in (latents, aligned, mask))
        cache: NetworkCache | None = NetworkCache()
        if latents.shape[1] > 1:
            past, levels = self._as_history(latents[:, :-1], sampling, generator)
            if self.recomputes:
                cache = remember(NetworkCache(), past, aligned[:, :-1], mask[:, :-1], self.config.window - 1)
            else:
                cond = conditioning(aligned[:, :-1], mask[:, :-1], scene)
                _, cache = self.network(past, levels, cond, cache)
        assert cache is not None
        return WorldState(cache, latents[:, -1], aligned[:, -1], mask[:, -1], scene, memory)

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
        table, action = self._table(sampling), action.to(state.action)
        past, _ = self._as_history(state.latent[:, None], sampling, generator)
        noise = sampling.temperature * draw_noise(past.shape, generator, past.device)
        new = NextFrame(past, self._history_level(sampling), action, noise)
        if self.recomputes:
            sampler, known = self._window_sampler(table, sampling), sampling.mode == "reference"
            cache, latent = recompute(sampler, self.config.window - 1, state, new, known, generator)
        else:
            denoiser = guided(self.network, sampling.guidance_scale, sampling.guidance_rescale)
            cache, latent = stream(denoiser, self.schedule, table, state, new, generator)
        memory = self._judge(state.memory, latent, action)
        return WorldState(cache, latent, action, torch.ones_like(state.action_mask), state.scene, memory), latent

    def settle(self, state: WorldState, generator: Generators, sampling: SamplingConfig | None = None) -> WorldState:
        """The same state with its newest frame in the memory already, for those who step from it again and again.

        Repeated rows then share the pass that this takes, which each of them would make for itself. Steps draw the same
        noise, and differ by rounding alone. Networks that recompute have nothing to settle.

        Args:
            generator: one, or one per row; draws the history noise.
        """
        if self.recomputes or state.settled:
            return state
        sampling = sampling or self.config.sampling
        past, levels = self._as_history(state.latent[:, None], sampling, generator)
        cond = conditioning(state.action[:, None], state.action_mask[:, None], state.scene)
        _, cache = self.network(past, levels, cond, state.cache)
        assert cache is not None
        return replace(state, cache=cache, settled=True)

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
        cond = conditioning(aligned, mask, scene)
        dropped = without_actions(cond, torch.zeros_like(mask), scene)
        shape = (*aligned.shape[:2], *self.config.latent_shape)
        x = sampling.temperature * draw_noise(shape, generator, frame.device)
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

    def _judge(self, memory: Tensor | None, latent: Tensor, action: Tensor) -> Tensor | None:
        """The reward head's memory after one more frame."""
        if self.reward_head is None:
            return None
        if memory is None:
            raise ValueError("state: this model has a reward head, but the state was made without one; reset first")
        return self.reward_head.advance(memory, latent, action)

    def _table(self, sampling: SamplingConfig) -> DDIMTable:
        full = sampling.mode == "standard"
        return ddim_table(
            self.schedule, sampling.num_sampling_steps, sampling.spacing, sampling.eta, full, sampling.temperature
        )

    def _window_sampler(self, table: DDIMTable, sampling: SamplingConfig) -> WindowSampler:
        over: Literal["all", "newest"] = "all" if sampling.mode == "reference" else "newest"
        return WindowSampler(
            self.network, self.schedule, table, sampling.guidance_scale, sampling.guidance_rescale, over
        )

    def _as_history(self, latents: Tensor, sampling: SamplingConfig, generator: Generators) -> tuple[Tensor, Tensor]:
        """Past frames as the network sees them: at a small noise level, the noise drawn once per frame."""
        levels = torch.full(latents.shape[:2], self._history_level(sampling), device=latents.device)
        noise = draw_noise(latents.shape, generator, latents.device)
        scaled = latents if sampling.mode == "reference" else latents * self.schedule.rescale(levels)
        return add_noise(scaled, noise, self.schedule.signal(levels)), levels

    def _history_level(self, sampling: SamplingConfig) -> int:
        return self._table(sampling).levels[1] if sampling.mode == "reference" else sampling.history_noise_level

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
        self.recomputes = norm == "clip"
        self.config = replace(self.config, network=network, sampling=sampling)

    def with_sampling(self, **changes: float | int | str | None) -> SamplingConfig:
        """This model's sampling settings with some changed; ``None`` leaves one as it is."""
        return replace(self.config.sampling, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
