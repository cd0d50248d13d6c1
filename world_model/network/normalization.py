"""Group normalisation, per frame or over time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from world_model.network.time import TimePass

TemporalNorm = Literal["clip", "prefix", "frame"]


class GroupNorm(nn.GroupNorm):
    """GroupNorm that goes through the contiguous layout for bfloat16 on the CPU, where the kernel for ``channels_last``
    is by far the slower one. float32 stays: the other kernel rounds differently."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.bfloat16 or x.device.type != "cpu" or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class TemporalGroupNorm(GroupNorm):
    """GroupNorm of the temporal layers.

    ``over`` says which frames share their statistics: ``clip`` all frames of the call (the reference; later
    frames change earlier ones), ``prefix`` a frame and those before it, ``frame`` each frame alone. The last
    two are strictly causal.
    """

    def __init__(self, channels: int, groups: int, eps: float, over: TemporalNorm) -> None:
        super().__init__(groups, channels, eps=eps)
        self.over = over

    def forward(self, x: Tensor, time: TimePass) -> Tensor:  # type: ignore[override]
        """``[(b f) c h w] -> [(b f) c h w]``."""
        if self.over == "frame":
            return super().forward(x)
        n, c, h, w = x.shape
        f = time.frames
        clip = x.view(n // f, f, self.num_groups, c // self.num_groups, h, w)
        clip = clip if clip.dtype is torch.float64 else clip.float()
        if self.over == "clip":
            variance, mean = torch.var_mean(clip, dim=(1, 3, 4, 5), keepdim=True, correction=0)
        else:
            mean, variance = self._prefix_statistics(clip, time)
        normal = ((clip - mean) * torch.rsqrt(variance + self.eps)).view(n, c, h, w)
        return (normal * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _prefix_statistics(self, clip: Tensor, time: TimePass) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[b f g 1 1 1]`` from cached first and second moments (float64: they are subtracted)."""
        values = clip.double()
        moments = torch.stack([values.mean((3, 4, 5)), values.square().mean((3, 4, 5))], dim=-1)
        total = time.sum_over_past(moments)
        mean, square = (total / time.frames_seen(moments)[..., None, None]).unbind(-1)
        variance = (square - mean.square()).clamp(min=0)
        return mean.to(clip)[..., None, None, None], variance.to(clip)[..., None, None, None]
