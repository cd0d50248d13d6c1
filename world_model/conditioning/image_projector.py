"""Image tokens to context tokens: a few learned queries per frame attend to all tokens of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ResamplerConfig:
    """Shape of the resampler; the defaults are those of the published models.

    Attributes:
        dim: Width of the queries.
        depth: Layers of attention and feed-forward.
        dim_head: Width of one attention head.
        heads: Attention heads.
        num_queries: Context tokens per frame.
        embedding_dim: Width of the image tokens.
        output_dim: Width of the context tokens.
        ff_mult: The feed-forward's hidden width, in multiples of `dim`.
        video_length: Frames that get tokens of their own.
    """

    dim: int = 1024
    depth: int = 4
    dim_head: int = 64
    heads: int = 12
    num_queries: int = 16
    embedding_dim: int = 1280
    output_dim: int = 1024
    ff_mult: int = 4
    video_length: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"image projector {name}: expected 1 or more, got {value}")


class Resampler(nn.Module):
    """Image tokens `[b n embedding_dim]` to context tokens `[b video_length*num_queries output_dim]`, frame by frame.

    Token `f * num_queries + q` is query `q` of frame `f`; the video model may show each frame its own or all of them.
    """

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Parameter(torch.randn(config.video_length * config.num_queries, config.dim) / config.dim**0.5)
        self.proj_in = nn.Linear(config.embedding_dim, config.dim)
        self.layers = nn.ModuleList(ResamplerLayer(config) for _ in range(config.depth))
        self.proj_out = nn.Linear(config.dim, config.output_dim)
        self.norm_out = nn.LayerNorm(config.output_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Raises ValueError for tokens of another width or number of axes."""
        if tokens.ndim != 3 or tokens.shape[2] != self.config.embedding_dim:
            raise ValueError(
                f"image tokens: expected [b n {self.config.embedding_dim}], got {list(tokens.shape)}; the image "
                "tower's width and the projector's embedding_dim must be the same"
            )
        tokens = self.proj_in(tokens)
        queries = self.queries.expand(len(tokens), -1, -1)
        for layer in self.layers:
            queries = layer(queries, tokens)
        return self.norm_out(self.proj_out(queries))


class ResamplerLayer(nn.Module):
    """Queries look at the image tokens and at each other, then each is transformed by itself."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.attention = QueryAttention(config)
        self.feed_forward = FeedForward(config)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """`[b m dim]`, `[b n dim]` -> `[b m dim]`."""
        queries = queries + self.attention(queries, tokens)
        return queries + self.feed_forward(queries)


class QueryAttention(nn.Module):
    """Attention whose keys and values come from the image tokens followed by the queries themselves."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.norm_tokens = nn.LayerNorm(config.dim)
        self.norm_queries = nn.LayerNorm(config.dim)
        self.to_q = nn.Linear(config.dim, inner, bias=False)
        self.to_kv = nn.Linear(config.dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, config.dim, bias=False)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """`[b m dim]`, `[b n dim]` -> `[b m dim]`."""
        queries = self.norm_queries(queries)
        k, v = self.to_kv(torch.cat([self.norm_tokens(tokens), queries], dim=1)).chunk(2, dim=-1)
        q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in (self.to_q(queries), k, v))
        return self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class FeedForward(nn.Module):
    """Norm, widen, GELU, narrow; no biases."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.proj_in = nn.Linear(config.dim, config.ff_mult * config.dim, bias=False)
        self.proj_out = nn.Linear(config.ff_mult * config.dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(F.gelu(self.proj_in(self.norm(x))))
