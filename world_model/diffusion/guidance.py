"""Guidance on the newest action (Vid2World, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from world_model.diffusion.denoiser import Denoiser
from world_model.network.cache import NetworkCache
from world_model.network.time import FrameTree
from world_model.types import Conditioning


@dataclass(frozen=True)
class GuidedDenoiser:
    """A denoiser that pushes the newest frame away from what it would be without its action.

    The newest frame is denoised twice, side by side under the same history: with its action and with that
    action dropped. ``v = v_dropped + scale * (v_action - v_dropped)``; with ``rescale`` > 0 the result is
    mixed with a version of the standard deviation of ``v_action`` (Lin et al. 2024).
    """

    denoiser: Denoiser
    scale: float
    rescale: float = 0.0

    def __call__(
        self,
        latents: Tensor,
        levels: Tensor,
        cond: Conditioning,
        cache: NetworkCache | None = None,
        tree: FrameTree | None = None,
        commit: int | None = None,
    ) -> tuple[Tensor, NetworkCache | None]:
        frames = latents.shape[1]
        doubled = [*range(frames), frames - 1]
        tree = (tree or FrameTree.chain(frames)).with_sibling()
        cond = cond.frames(doubled)
        mask = (
            cond.action_mask
            if cond.action_mask is not None
            else torch.ones_like(levels[:, doubled], dtype=torch.float32)
        )
        mask = torch.cat([mask[:, :-1], torch.zeros_like(mask[:, -1:])], dim=1)
        commit = frames if commit is None else commit
        v, cache = self.denoiser(
            latents[:, doubled], levels[:, doubled], replace(cond, action_mask=mask), cache, tree, commit
        )
        newest = guide(v[:, -2:-1], v[:, -1:], self.scale, self.rescale)
        return torch.cat([v[:, :-2], newest], dim=1), cache


def guide(conditional: Tensor, dropped: Tensor, scale: float, rescale: float) -> Tensor:
    """Combine the two predictions ``[b f c h w]``; deviations are taken per row over all else."""
    v = dropped + scale * (conditional - dropped)
    if rescale == 0:
        return v
    over = tuple(range(1, v.ndim))
    factor = conditional.std(over, keepdim=True) / v.std(over, keepdim=True)
    return v * (rescale * factor + 1 - rescale)


def guided(denoiser: Denoiser, scale: float, rescale: float = 0.0) -> Denoiser:
    """``denoiser`` itself at scale 1, which is guidance turned off and costs nothing."""
    return denoiser if scale == 1 else GuidedDenoiser(denoiser, scale, rescale)
