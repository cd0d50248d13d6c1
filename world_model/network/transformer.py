"""Transformer blocks over space and over time, as residual layers on feature maps ``[(b f) c h w]``."""

from __future__ import annotations

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from world_model.network.attention import (
    ContextAttention,
    FeedForward,
    SpatialSelfAttention,
    TemporalSelfAttention,
    zero_init,
)
from world_model.network.normalization import GroupNorm, TemporalGroupNorm, TemporalNorm
from world_model.network.time import TimePass


@dataclass(frozen=True)
class ContextTokens:
    """Cross-attention tokens of one call: ``text [b m d]``, ``image [b m d]`` or per frame ``[(b f) m d]``."""

    text: Tensor
    image: Tensor


class SpatialTransformer(nn.Module):
    """Self-attention within a frame, cross-attention to the context where there is one, feed-forward."""

    def __init__(self, channels: int, heads: int, context_dim: int | None, multiplier: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.norm1, self.attention = nn.LayerNorm(channels), SpatialSelfAttention(channels, heads)
        self.norm2 = self.context_attention = None
        if context_dim is not None:
            self.norm2 = nn.LayerNorm(channels)
            self.context_attention = ContextAttention(channels, heads, context_dim)
        self.norm3, self.feed_forward = nn.LayerNorm(channels), FeedForward(channels, multiplier)
        self.proj_out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: ContextTokens | None) -> Tensor:
        h, w = x.shape[-2:]
        y = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        y = y + self.attention(self.norm1(y))
        if self.context_attention is not None and self.norm2 is not None:
            if context is None:
                raise ValueError("this network attends to context tokens; Conditioning.context is missing")
            y = y + self.context_attention(self.norm2(y), context.text, context.image)
        y = y + self.feed_forward(self.norm3(y))
        return x + rearrange(self.proj_out(y), "n (h w) c -> n c h w", h=h, w=w)


class TemporalTransformer(nn.Module):
    """Two rounds of self-attention over time (each place by itself), feed-forward."""

    def __init__(
        self, channels: int, heads: int, head_channels: int, multiplier: int, groups: int, over: TemporalNorm
    ) -> None:
        super().__init__()
        inner = heads * head_channels
        self.norm = TemporalGroupNorm(channels, groups, 1e-6, over)
        self.proj_in = nn.Linear(channels, inner)
        self.norm1, self.attention1 = nn.LayerNorm(inner), TemporalSelfAttention(inner, heads)
        self.norm2, self.attention2 = nn.LayerNorm(inner), TemporalSelfAttention(inner, heads)
        self.norm3, self.feed_forward = nn.LayerNorm(inner), FeedForward(inner, multiplier)
        self.proj_out = zero_init(nn.Linear(inner, channels))

    def forward(self, x: Tensor, time: TimePass) -> Tensor:
        h, w = x.shape[-2:]
        y = self.proj_in(rearrange(self.norm(x, time), "(b f) c h w -> b f (h w) c", f=time.frames))
        y = y + self.attention1(self.norm1(y), time)
        y = y + self.attention2(self.norm2(y), time)
        y = y + self.feed_forward(self.norm3(y))
        return x + rearrange(self.proj_out(y), "b f (h w) c -> (b f) c h w", h=h, w=w)
