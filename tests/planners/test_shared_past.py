"""Candidates of one state share its past: same numbers, no copies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.conftest import make_tiny_model
from tests.planners.conftest import generators
from world_model.model import SamplingConfig, WorldModel
from world_model.network.cache import FrameLog, NetworkCache
from world_model.types import WorldState


def start(model: WorldModel, batch: int, context: int) -> WorldState:
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, context, *model.config.latent_shape, generator=g)
    actions = torch.rand(batch, context - 1, 2, generator=g) * 512
    with torch.no_grad():
        return model.init_state(latents, actions, generators(range(batch)))


def copied(state: WorldState, n: int) -> WorldState:
    """What ``repeat`` means, spelled out: every row copied."""
    cache = state.cache
    entries = tuple(
        FrameLog.of(entry.frames.repeat_interleave(n, 0))
        if isinstance(entry, FrameLog)
        else entry.repeat_interleave(n, 0)
        for entry in cache.entries
    )
    valid = None if cache.valid is None else cache.valid.repeat_interleave(n, 0)
    return replace(state.repeat(n), cache=NetworkCache(entries, valid, cache.length))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Up to rounding, which grows with the values."""
    assert float((ours - theirs).abs().max()) <= 3e-5 * max(1.0, float(theirs.std()))


@pytest.mark.parametrize("norm", ["frame", "prefix"])
@pytest.mark.parametrize("sampling", [SamplingConfig(), SamplingConfig(2, guidance_scale=2.0)])
@pytest.mark.parametrize("batch", [1, 2])
def test_sharing_gives_the_same_frames_as_copying(norm: str, sampling: SamplingConfig, batch: int) -> None:
    model = make_tiny_model(temporal_norm=norm, channel_mult=(1,), attention_downsampling=(1,))
    state = start(model, batch, context=5)
    shared, apart = state.repeat(3), copied(state, 3)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(8):  # until nothing of the past is left in the window of 6
            action = torch.rand(3 * batch, 2, generator=g) * 512
            shared, ours = model.step(shared, action, generators(range(3 * batch)), sampling)
            apart, theirs = model.step(apart, action, generators(range(3 * batch)), sampling)
            assert_same(ours, theirs)


def test_sharing_knows_which_rows_have_a_shorter_history() -> None:
    model = make_tiny_model(channel_mult=(1,), attention_downsampling=(1,))
    state = start(model, 2, context=5).scatter([1], start(model, 1, context=2))
    action = torch.rand(4, 2, generator=torch.Generator().manual_seed(1)) * 512
    with torch.no_grad():
        _, ours = model.step(state.repeat(2), action, generators(range(4)))
        _, theirs = model.step(copied(state, 2), action, generators(range(4)))
    assert_same(ours, theirs)


def test_branches_of_branches_can_be_picked_and_repeated() -> None:
    model = make_tiny_model(channel_mult=(1,), attention_downsampling=(1,))
    state = start(model, 1, context=5)
    action = torch.rand(3, 2, generator=torch.Generator().manual_seed(1)) * 512
    with torch.no_grad():
        three, _ = model.step(state.repeat(3), action, generators([0, 1, 2]))
        alone, _ = model.step(state, action[2:], generators([2]))
        again, alone_again = three.select([2]).repeat(2), alone.repeat(2)
        _, ours = model.step(again, action[:2], generators([0, 1]))
        _, theirs = model.step(alone_again, action[:2], generators([0, 1]))
        _, nested = model.step(three.repeat(2), action[[0, 0, 1, 1, 0, 1]], generators([0, 0, 1, 1, 0, 1]))
    assert_same(ours, theirs)
    assert_same(nested[4:], ours)


def test_gradients_pass_through_a_shared_past() -> None:
    model = make_tiny_model(channel_mult=(1,), attention_downsampling=(1,))
    state = start(model, 1, context=5)
    actions = (torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(1)) * 512).requires_grad_()
    grads = []
    for many in (state.repeat(2), copied(state, 2)):
        _, latents = model.rollout(many, actions, generators([0, 1]))
        (grad,) = torch.autograd.grad(latents[:, -1].square().sum(), actions)
        grads.append(grad)
    assert float(grads[0].abs().max()) > 0
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-3)


def own_bytes(state: WorldState) -> int:
    """Memory of a state that no other state has."""
    storages = {}
    for entry in state.cache.entries:
        tensor = entry.buffer if isinstance(entry, FrameLog) else entry
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def test_candidates_take_memory_for_their_new_frames_only() -> None:
    model = make_tiny_model(frame_size=(8, 8), channel_mult=(1,), attention_downsampling=(1,), window=64)
    g = torch.Generator().manual_seed(0)
    short, long = start(model, 1, context=2), start(model, 1, context=60)
    frame = sum(e.buffer[0, :1].nbytes for e in long.cache.entries if isinstance(e, FrameLog))
    inputs = sum(e[0].nbytes for e in long.cache.entries if isinstance(e, torch.Tensor))
    n, sizes = 256, []
    with torch.no_grad():
        for state in (short, long):
            many = state.repeat(n)
            assert all(not e.buffer.numel() for e in many.cache.entries if isinstance(e, FrameLog))
            for _ in range(3):
                many, _ = model.step(many, torch.rand(n, 2, generator=g) * 512, g)
            sizes.append(own_bytes(many))
    assert sizes[0] == sizes[1], "a longer past costs nothing"
    assert sizes[1] <= n * (inputs + 5 * frame), "three frames, and room for the two of the next pass"
