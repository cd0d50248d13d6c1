"""Convolutional blocks on feature maps ``[(b f) c h w]``."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.network.attention import zero_init
from world_model.network.normalization import GroupNorm, TemporalGroupNorm, TemporalNorm
from world_model.network.time import TimePass


class Planes:
    """Constant feature maps of one call: each frame's action and the coordinates of every place, in [-1, 1]."""

    def __init__(self, action: Tensor) -> None:
        """``action [b f k]``."""
        self._action = action.flatten(0, 1)[..., None, None]
        self._maps: dict[tuple[int, int], Tensor] = {}

    def at(self, height: int, width: int) -> Tensor:
        """``[(b f) 2+k height width]``."""
        if (height, width) not in self._maps:
            n, like = self._action.shape[0], self._action
            # Centres of the places, so that the same position has the same coordinates at every resolution.
            y, x = (
                (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1
                for size in (height, width)
            )
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(n, -1, -1, -1)
            maps = torch.cat([grid, like.expand(-1, -1, height, width)], dim=1)
            self._maps[height, width] = maps.contiguous(memory_format=torch.channels_last)
        return self._maps[height, width]


class TemporalConv(nn.Module):
    """Convolution over time with kernel 3: a frame and its two ancestors (or, bidirectional, its two neighbours).

    ``weight [out taps in]``, taps ordered from the oldest frame to the newest.
    """

    def __init__(self, channels: int, taps: int = 3) -> None:
        super().__init__()
        self.taps = taps
        self.weight = nn.Parameter(torch.empty(channels, taps, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        bound = 1 / math.sqrt(taps * channels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, time: TimePass) -> Tensor:
        frames = rearrange(x, "(b f) c h w -> b f h w c", f=time.frames)
        if time.causal:
            neighbours = [*time.ancestors(frames, self.taps - 1), frames]
        else:
            half = self.taps // 2
            padded = F.pad(frames, (0, 0, 0, 0, 0, 0, half, half))
            neighbours = [padded[:, i : i + time.frames] for i in range(self.taps)]
        out = F.linear(torch.cat(neighbours, dim=-1), self.weight.flatten(1), self.bias)
        return rearrange(out, "b f h w c -> (b f) c h w")


class TemporalConvStack(nn.Module):
    """A residual chain of norm, SiLU, dropout and convolution over time."""

    def __init__(self, channels: int, depth: int, groups: int, dropout: float, over: TemporalNorm) -> None:
        super().__init__()
        self.norms = nn.ModuleList(TemporalGroupNorm(channels, groups, 1e-5, over) for _ in range(depth))
        self.convs = nn.ModuleList(TemporalConv(channels) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)
        zero_init(self.convs[-1])

    def forward(self, x: Tensor, time: TimePass) -> Tensor:
        h = x
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.silu(norm(h, time))
            h = conv(self.dropout(h) if i else h, time)
        return x + h


class ResBlock(nn.Module):
    """Two convolutions within the frame, with the frame's embedding between them; then convolutions over time.

    The embedding is added, or (``film``) also scales the normalised features.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embed_dim: int,
        *,
        temporal_depth: int,
        groups: int,
        dropout: float,
        over: TemporalNorm,
        film: bool,
        planes: int = 0,
    ) -> None:
        super().__init__()
        self.film = film
        self.norm_in = GroupNorm(groups, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.embed = nn.Linear(embed_dim, (2 if film else 1) * out_channels)
        self.modulate = zero_init(nn.Conv2d(planes, 2 * out_channels, 1)) if film and planes else None
        self.norm_out = GroupNorm(groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.temporal = (
            TemporalConvStack(out_channels, temporal_depth, groups, dropout, over) if temporal_depth else None
        )

    def forward(self, x: Tensor, embedding: Tensor, planes: Planes | None, time: TimePass) -> Tensor:
        """``x [(b f) c h w]``, ``embedding [(b f) d]`` (after SiLU)."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        e = self.embed(embedding)[:, :, None, None]
        if self.modulate is not None and planes is not None:
            e = e + self.modulate(planes.at(*h.shape[-2:]))
        if self.film:
            scale, shift = e.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        else:
            h = self.norm_out(h + e)
        h = self.skip(x) + self.conv_out(self.dropout(F.silu(h)))
        return h if self.temporal is None else self.temporal(h, time)


class Downsample(nn.Module):
    """Halve height and width by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class HeightCausalConv2d(nn.Conv2d):
    """3x3 convolution that looks two rows up and none down.

    The published network carries this by accident of a conversion meant for time; kept for its weights.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 2, 0)))
