"""A state whose newest frame is in the memory already steps as it did before, for one pass fewer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.conftest import make_tiny_model
from world_model.model import SamplingConfig, WorldModel
from world_model.types import WorldState


def start(model: WorldModel, frames: int, batch: int = 2) -> tuple[WorldState, Tensor]:
    """A state after `frames` random frames, and actions to take from there."""
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, frames, *model.config.latent_shape, generator=g)
    actions = torch.rand(batch, frames - 1 + 3, 2, generator=g) * 512
    return model.init_state(latents, actions[:, : frames - 1], generator()), actions[:, frames - 1 :]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("frames", [1, 4, 20])  # beyond the window, too
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(num_sampling_steps=1),
        SamplingConfig(num_sampling_steps=3, guidance_scale=2.0, history_noise_level=40, eta=1.0),
    ],
    ids=["one step", "guided"],
)
def test_it_dreams_the_same(frames: int, sampling: SamplingConfig) -> None:
    model = make_tiny_model(temporal_norm="prefix")
    state, actions = start(model, frames)
    settled = model.settle(state, generator(), sampling)
    assert settled.settled and not state.settled and settled.cache.length == min(frames, model.config.window - 1)
    _, expected = model.rollout(state, actions, generator(), sampling)
    after, latents = model.rollout(settled, actions, generator(), sampling)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)
    assert not after.settled


def test_repeated_rows_share_it() -> None:
    model = make_tiny_model()
    state, actions = start(model, 4)
    settled = model.settle(state, [generator() for _ in range(2)])
    many = [generator() for _ in range(6)]
    _, latents = model.rollout(settled.repeat(3), actions.repeat_interleave(3, 0), many)
    _, expected = model.rollout(state.repeat(3), actions.repeat_interleave(3, 0), [generator() for _ in range(6)])
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)
    assert settled.select([1]).settled and settled.scatter([0], settled.select([1])).settled


def test_the_state_it_was_made_of_stays_usable() -> None:
    model = make_tiny_model()
    state, actions = start(model, 4)
    _, before = model.rollout(state, actions, generator())
    model.rollout(model.settle(state, generator()), actions + 1, generator())
    assert torch.equal(model.rollout(state, actions, generator())[1], before)


def test_there_is_nothing_to_settle_twice_nor_where_windows_are_recomputed() -> None:
    model, recomputing = make_tiny_model(), make_tiny_model(temporal_norm="clip")
    settled = model.settle(start(model, 3)[0], generator())
    assert model.settle(settled, generator()) is settled
    state, _ = start(recomputing, 3)
    assert recomputing.settle(state, generator()) is state
