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


def silu(x: Tensor) -> Tensor:
    """SiLU of features that nobody else reads: in place where no gradient is wanted, since new memory costs more than
    the numbers do."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class Planes:
    """Constant feature maps of one call: the coordinates of every place, in [-1, 1], and each frame's action.

    A convolution could see them as ``[(b f) 2+k height width]``, but they are never made: what it makes of coordinates
    is the same for all frames, and what it makes of an action the same at all places that see no border.
    """

    def __init__(self, action: Tensor) -> None:
        """``action [b f k]``."""
        self._action = action.flatten(0, 1)
        self._grids: dict[tuple[int, int], Tensor] = {}

    def modulation(self, conv: nn.Conv2d, height: int, width: int) -> tuple[Tensor, Tensor]:
        """What a convolution with kernel 1 makes of them: the sum of its share of each frame ``[(b f) out 1 1]`` and of
        each place ``[1 out height width]``."""
        of_places, of_frames = conv.weight[:, :, 0, 0].tensor_split([2], dim=1)
        frames = F.linear(self._action, of_frames, conv.bias)[..., None, None]
        return frames, F.linear(self._coordinates(height, width), of_places).permute(0, 3, 1, 2)

    def convolved(self, weight: Tensor, height: int, width: int) -> Tensor:
        """What ``weight [out 2+k 3 3]`` makes of them, with zeros around the frame: ``[(b f) out height width]``."""
        of_places, of_frames = weight.tensor_split([2], dim=1)
        places = F.conv2d(self._coordinates(height, width).permute(0, 3, 1, 2), of_places, padding=1)
        taps = torch.einsum("nk,okyx->nyxo", self._action, of_frames).flatten(1, 2)
        inside = F.unfold(self._action.new_ones(1, 1, height, width), 3, padding=1)  # [1 tap place]: not the border
        frames = (inside.transpose(1, 2) @ taps).unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return frames + places

    def _coordinates(self, height: int, width: int) -> Tensor:
        """``[1 height width 2]``: y, x of the centres of the places, so that the same position has the same coordinates
        at every resolution."""
        if (height, width) not in self._grids:
            like = self._action
            y, x = (
                (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1
                for size in (height, width)
            )
            self._grids[height, width] = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)[None]
        return self._grids[height, width]


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
            h = silu(norm(h, time))
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
        h = self.conv_in(silu(self.norm_in(x)))
        e = self.embed(embedding)[:, :, None, None]
        if self.film:
            of_places = None
            if self.modulate is not None and planes is not None:
                of_frames, of_places = planes.modulation(self.modulate, *h.shape[-2:])
                e = e + of_frames
            scale, shift = e.chunk(2, dim=1)
            scale = 1 + scale
            if of_places is not None:  # added to half as many channels each: neither sum is needed as a whole
                scale_there, shift_there = of_places.chunk(2, dim=1)
                scale, shift = scale + scale_there, shift + shift_there
            h = torch.addcmul(shift, self.norm_out(h), scale)
        else:
            h = self.norm_out(h + e)
        h = self.skip(x) + self.conv_out(self.dropout(silu(h)))
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
