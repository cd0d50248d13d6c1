"""Group normalisation, per frame or over time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from world_model.network.time import TimePass

TemporalNorm = Literal["clip", "prefix", "frame"]


_LARGE = 2**16  # numbers; below it no way around the kernel pays


class GroupNorm(nn.GroupNorm):
    """GroupNorm that is fast on the CPU in the layout ``channels_last``, for which torch's own kernel is slow.

    bfloat16 goes through the contiguous layout; large float32 features have their sums taken as matrix products.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.is_contiguous():
            return super().forward(x)
        if x.dtype is torch.bfloat16:
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        if x.dtype is torch.float32 and x.numel() >= _LARGE and x.is_contiguous(memory_format=torch.channels_last):
            return self._by_products(x)
        return super().forward(x)

    def _by_products(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        places, members = h * w, c // self.num_groups
        rows = x.permute(0, 2, 3, 1).reshape(n, places, c)  # a view
        ones = x.new_ones(n, 1, places)
        mean, square = (
            (ones @ values).view(n, self.num_groups, members).sum(-1, keepdim=True) / (places * members)
            for values in (rows, rows.square())
        )
        scale = self.weight.view(-1, members) * torch.rsqrt((square - mean.square()).clamp(min=0) + self.eps)
        shift = self.bias.view(-1, members) - mean * scale
        normal = torch.addcmul(shift.view(n, 1, c), rows, scale.view(n, 1, c))
        return normal.view(n, h, w, c).permute(0, 3, 1, 2)


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
