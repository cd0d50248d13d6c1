"""Embeddings of noise levels, frame rates and actions."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from world_model.types import ActionSpec


def sinusoid(values: Tensor, dim: int) -> Tensor:
    """``[...] -> [... dim]``: cosines, then sines, of geometrically spaced frequencies from 1 to 1/10000."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10000.0) / half * torch.arange(half, device=values.device, dtype=torch.float32))
    angles = values[..., None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class SinusoidEmbedding(nn.Module):
    """Sinusoid followed by a two-layer MLP."""

    def __init__(self, dim: int, embed_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.mlp = mlp(dim, embed_dim, embed_dim)

    def forward(self, values: Tensor) -> Tensor:
        return self.mlp(sinusoid(values, self.dim).to(_dtype(self.mlp)))


class ActionEmbedder(nn.Module):
    """Actions ``[b f a]`` as numbers a network can use: :meth:`features`, and an MLP of them for the embedding.

    Attributes:
        num_features: length ``k`` of the features.
    """

    num_features: int
    mlp: nn.Sequential

    def features(self, actions: Tensor) -> Tensor:
        """``[b f a] -> [b f k]``, fixed or linear in the action."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[b f k] -> [b f embed_dim]``."""
        return self.mlp(features)


class BoxEmbedder(ActionEmbedder):
    """Continuous actions.

    ``frequencies`` = 0 feeds the raw numbers (the reference). Otherwise bounded dimensions are mapped to [-1, 1] and
    joined by sines and cosines of that many octaves, so that small differences of a wide range stay visible.
    """

    def __init__(self, spec: ActionSpec, dim: int, embed_dim: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        bounds = [
            (lo, hi) if math.isfinite(hi - lo) and hi > lo else (-1.0, 1.0)
            for lo, hi in zip(spec.low, spec.high, strict=True)
        ]
        self.centre = [(lo + hi) / 2 for lo, hi in bounds]
        self.half_range = [(hi - lo) / 2 for lo, hi in bounds]
        self.num_features = spec.size * (1 + 2 * frequencies)
        self.mlp = mlp(self.num_features, dim, embed_dim, embed_dim)

    def features(self, actions: Tensor) -> Tensor:
        if not self.frequencies:
            return actions.to(_dtype(self.mlp))
        centre, half_range = actions.new_tensor([self.centre, self.half_range], dtype=torch.float32)
        unit = (actions.float() - centre) / half_range
        octaves = math.pi * 2.0 ** torch.arange(-1, self.frequencies - 1, device=unit.device)
        angles = (unit[..., None] * octaves).flatten(-2)
        return torch.cat([unit, angles.sin(), angles.cos()], dim=-1).to(_dtype(self.mlp))


class CategoricalEmbedder(ActionEmbedder):
    """Discrete, multi-discrete and multi-binary actions: a sum of rows of one table, then an MLP."""

    offsets: Tensor

    def __init__(self, spec: ActionSpec, dim: int, embed_dim: int) -> None:
        super().__init__()
        self.multi_hot = spec.kind == "multi_binary"
        rows = spec.size if self.multi_hot else sum(spec.nvec)
        offsets = torch.tensor([0, *spec.nvec], dtype=torch.long).cumsum(0)[:-1]
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = nn.Parameter(torch.randn(rows, dim))
        self.num_features = dim
        self.mlp = mlp(dim, embed_dim, embed_dim)

    def features(self, actions: Tensor) -> Tensor:
        if self.multi_hot:
            return actions.to(self.table.dtype) @ self.table
        return self.table[actions.long() + self.offsets].sum(-2)


def action_embedder(spec: ActionSpec, dim: int, embed_dim: int, frequencies: int = 0) -> ActionEmbedder:
    """The embedder that fits the action space."""
    if spec.kind == "box":
        return BoxEmbedder(spec, dim, embed_dim, frequencies)
    return CategoricalEmbedder(spec, dim, embed_dim)


def mlp(*dims: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(dims)):
        layers += [nn.SiLU()] * bool(i) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
