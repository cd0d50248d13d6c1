"""The tiny world model, smaller still: 8x8 frames, so 2x2 latents, for searches that take many steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from planners import Outcome, Reward
from tests.conftest import ACTION_SPECS, make_tiny_model
from world_model.model import WorldModel
from world_model.types import ActionSpec, WorldState

SIZE = (8, 8)
TARGET = torch.tensor([128.0, 384.0])


def small_model(actions: ActionSpec = ACTION_SPECS["box"]) -> WorldModel:
    few_layers = {"channel_mult": (1,), "attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    return make_tiny_model(actions, SIZE, model_channels=8, **few_layers)


def make_state(model: WorldModel, batch: int, seed: int = 0, context: int = 4) -> WorldState:
    """A state after random frames and actions; row ``i`` is the same in every batch."""
    rows = [torch.Generator().manual_seed(seed + i) for i in range(batch)]
    shape = (1, context, *model.config.latent_shape)
    latents = torch.cat([torch.randn(shape, generator=row) for row in rows])
    spec = model.config.actions
    chance = torch.cat([torch.rand(1, context - 1, spec.size, generator=row) for row in rows])
    if spec.kind == "box":
        actions = torch.tensor(spec.low) + chance * (torch.tensor(spec.high) - torch.tensor(spec.low))
    else:
        sizes = torch.tensor((2,) * spec.size if spec.kind == "multi_binary" else spec.nvec)
        actions = (chance * sizes).long().to(torch.long if spec.is_integer else torch.float32)
    with torch.no_grad():
        return model.init_state(latents, actions, rows)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [generator(seed) for seed in seeds]


def near_target(outcome: Outcome) -> torch.Tensor:
    """A reward of the actions alone: the nearer to ``TARGET``, the better."""
    return -((outcome.actions - TARGET) / 256).square().mean(-1)


@pytest.fixture(scope="session")
def model() -> WorldModel:
    return small_model()


@pytest.fixture
def state(model: WorldModel) -> WorldState:
    return make_state(model, 2)


@pytest.fixture(scope="session")
def goal() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def target() -> Reward:
    return Reward(near_target)
