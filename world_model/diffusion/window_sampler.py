"""Denoising with the whole window in every pass, as the reference does it: frame by frame, or all frames together.

Networks whose norms look at all frames at once (`temporal_norm="clip"`) need this. The sampler of streamed networks is
in :mod:`world_model.streaming`; it looks at new frames only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from world_model.diffusion.denoiser import Denoiser
from world_model.diffusion.samplers import DDIMTable, ddim_step
from world_model.diffusion.schedule import Schedule
from world_model.types import Conditioning

Draw = Callable[[Sequence[int]], Tensor]  # standard normal noise of a shape


@dataclass(frozen=True)
class WindowSampler:
    """How the frames of one window are denoised.

    Attributes:
        guidance_scale: 1 is off.
        guidance_rescale: 0..1, how far the result is given the conditional prediction's standard deviation.
        rescale_over: frames that this deviation is taken over: ``all`` (the reference: the guided newest frame then
            depends on how much history there is) or ``newest``.
    """

    denoiser: Denoiser
    schedule: Schedule
    table: DDIMTable
    guidance_scale: float
    guidance_rescale: float
    rescale_over: Literal["all", "newest"]

    def newest(
        self, history: Tensor, history_level: int, noise: Tensor, cond: Conditioning, dropped: Conditioning, draw: Draw
    ) -> Tensor:
        """Denoise one frame behind a noisy history (Vid2World, algorithm 2).

        Args:
            history: ``[b n c h w]``, at ``history_level``; the same in every pass.
            noise: ``[b 1 c h w]``, where the new frame starts.
            cond, dropped: of all ``n + 1`` frames, with and without the newest action.
            draw: noise for the steps of the new frame; called only where a step adds some.

        Returns:
            the new frame ``[b 1 c h w]``.
        """
        past = torch.full(history.shape[:2], history_level, device=history.device)
        x = noise
        for step in reversed(range(len(self.table))):
            level = self._levels(x, step)
            levels = torch.cat([past, level], dim=1)
            v = self._guided(torch.cat([history, x], dim=1), levels, cond, dropped)[:, -1:]
            x = self._down(step, x, v, level, draw)
        return x

    def together(self, noise: Tensor, cond: Conditioning, dropped: Conditioning, draw: Draw) -> Tensor:
        """Denoise all frames ``[b t c h w]`` at one common level (the paper's non-autoregressive setting)."""
        x = noise
        for step in reversed(range(len(self.table))):
            levels = self._levels(x, step)
            x = self._down(step, x, self._guided(x, levels, cond, dropped), levels, draw)
        return x

    def _levels(self, x: Tensor, step: int) -> Tensor:
        return torch.full(x.shape[:2], self.table.levels[step], device=x.device)

    def _down(self, step: int, x: Tensor, v: Tensor, levels: Tensor, draw: Draw) -> Tensor:
        noise = draw(x.shape).to(x) if self.table.sigmas[step] else None
        return ddim_step(self.table, step, x, v, self.schedule.signal(levels), noise)

    def _guided(self, latents: Tensor, levels: Tensor, cond: Conditioning, dropped: Conditioning) -> Tensor:
        """Both branches as one batch; they cannot share a history, since its features depend on the newest frame."""
        if self.guidance_scale == 1:
            return self.denoiser(latents, levels, cond)[0]
        both, _ = self.denoiser(torch.cat([latents] * 2), torch.cat([levels] * 2), _stack(cond, dropped))
        v_action, v_dropped = both.chunk(2)
        v = v_dropped + self.guidance_scale * (v_action - v_dropped)
        if self.guidance_rescale == 0:
            return v
        frames = slice(None) if self.rescale_over == "all" else slice(-1, None)
        over = tuple(range(1, v.ndim))
        factor = v_action[:, frames].std(over, keepdim=True) / v[:, frames].std(over, keepdim=True)
        return v * (self.guidance_rescale * factor + 1 - self.guidance_rescale)


def _stack(a: Conditioning, b: Conditioning) -> Conditioning:
    def join(x: Tensor | None, y: Tensor | None) -> Tensor | None:
        assert (x is None) == (y is None)
        return None if x is None or y is None else torch.cat([x, y])

    return Conditioning(
        join(a.actions, b.actions),
        join(a.action_mask, b.action_mask),
        join(a.context, b.context),
        join(a.concat, b.concat),
        join(a.fps, b.fps),
    )
