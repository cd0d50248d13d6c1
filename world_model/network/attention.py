"""Attention and feed-forward layers on tokens."""

from __future__ import annotations

from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.network.time import TimePass, dot_product_attention

M = TypeVar("M", bound=nn.Module)


class FeedForward(nn.Module):
    """Gated GELU: one projection to value and gate, their product, one projection back."""

    def __init__(self, dim: int, multiplier: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(dim, 2 * multiplier * dim)
        self.proj_out = nn.Linear(multiplier * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj_in(x).chunk(2, dim=-1)
        return self.proj_out(value * F.gelu(gate))


class SpatialSelfAttention(nn.Module):
    """Self-attention among the places of one frame."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[n l d] -> [n l d]``."""
        return self.to_out(_attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class ContextAttention(nn.Module):
    """Cross-attention to text tokens and, with its own keys and values, to image tokens; the two results add up."""

    def __init__(self, dim: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_k_image = nn.Linear(context_dim, dim, bias=False)
        self.to_v_image = nn.Linear(context_dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, text: Tensor, image: Tensor) -> Tensor:
        """``x [(b f) l d]``, ``text [b m k]``, ``image [b m k]`` or per frame ``[(b f) m k]``."""
        q = self.to_q(x)
        out = self._attend(q, self.to_k(text), self.to_v(text))
        out = out + self._attend(q, self.to_k_image(image), self.to_v_image(image))
        return self.to_out(out)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """All frames of a row that share their keys ask together, so shared tokens are never repeated."""
        shared = rearrange(q, "(b f) l d -> b (f l) d", b=k.shape[0])
        return _attend(shared, k, v, self.heads).reshape(q.shape)


class TemporalSelfAttention(nn.Module):
    """Self-attention over time, for every place by itself; no positions, so a window may slide."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, time: TimePass) -> Tensor:
        """``[b f l d] -> [b f l d]``; the (place, head) pairs of a frame are independent."""

        def places(y: Tensor) -> Tensor:
            return rearrange(y, "b f l (h d) -> b f (l h) d", h=self.heads)

        out = time.attend(places(self.to_q(x)), places(self.to_k(x)), places(self.to_v(x)))
        return self.to_out(rearrange(out, "b f (l h) d -> b f l (h d)", h=self.heads))


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (rearrange(x, "n l (h d) -> n h l d", h=heads) for x in (q, k, v))
    return rearrange(dot_product_attention(q, k, v), "n h l d -> n l (h d)")


def zero_init(module: M) -> M:
    """Start a residual branch at zero."""
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    return module
