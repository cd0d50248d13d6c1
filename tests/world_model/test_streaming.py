"""Causality, and streaming against the full forward pass."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import make_tiny_model
from world_model.model import SamplingConfig, WorldModel
from world_model.network.cache import FrameLog, NetworkCache
from world_model.network.time import FrameTree
from world_model.types import Conditioning, incoming_actions


def clip(
    model: WorldModel, frames: int, batch: int = 2, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """Random latents, levels and conditioning."""
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, frames, *model.config.latent_shape, generator=g)
    levels = torch.randint(1000, (batch, frames), generator=g)
    actions, mask = incoming_actions(torch.rand(batch, frames - 1, 2, generator=g) * 512)
    return latents, levels, Conditioning(actions=actions, action_mask=mask)


@pytest.mark.parametrize("norm", ["frame", "prefix"])
@pytest.mark.parametrize("chunks", [(1,) * 14, (3, 1, 4, 6), (14,)])
def test_streaming_equals_the_full_causal_forward_also_beyond_the_window(norm: str, chunks: tuple[int, ...]) -> None:
    model = make_tiny_model(temporal_norm=norm)
    latents, levels, cond = clip(model, 14)
    full, _ = model.network(latents, levels, cond)
    cache: NetworkCache | None = NetworkCache()
    out = []
    for start, size in zip(itertools.accumulate((0, *chunks[:-1])), chunks, strict=True):
        frames = slice(start, start + size)
        v, cache = model.network(latents[:, frames], levels[:, frames], cond.frames(frames), cache)
        out.append(v)
    assert (torch.cat(out, 1) - full).abs().max() <= 1e-5 * full.std()


@pytest.mark.parametrize("norm", ["frame", "prefix"])
@pytest.mark.parametrize("what", ["latent", "level", "action"])
def test_a_changed_future_moves_the_past_by_exactly_nothing(norm: str, what: str) -> None:
    model = make_tiny_model(temporal_norm=norm)
    latents, levels, cond = clip(model, 5)
    before, _ = model.network(latents, levels, cond)
    if what == "latent":
        latents = latents.clone()
        latents[:, 3] += 1
    elif what == "level":
        levels = levels.clone()
        levels[:, 3] = (levels[:, 3] + 500) % 1000
    else:
        assert cond.actions is not None
        cond.actions[:, 3] = 512 - cond.actions[:, 3]
    after, _ = model.network(latents, levels, cond)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().max() > 1e-3


def test_clip_norm_lets_the_future_leak_as_the_reference_does() -> None:
    model = make_tiny_model(temporal_norm="clip")
    latents, levels, cond = clip(model, 5)
    before, _ = model.network(latents, levels, cond)
    latents[:, 4] += 1
    assert not torch.equal(before[:, :4], model.network(latents, levels, cond)[0][:, :4])


def test_siblings_do_not_see_each_other() -> None:
    model = make_tiny_model()
    latents, levels, cond = clip(model, 4)
    doubled = [0, 1, 2, 3, 3]
    tree = FrameTree.chain(4).with_sibling()
    alone, _ = model.network(latents, levels, cond)
    other = latents[:, doubled].clone()
    other[:, 4] += 1
    together, _ = model.network(other, levels[:, doubled], cond.frames(doubled), tree=tree)
    torch.testing.assert_close(together[:, :4], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["frame", "prefix"])
def test_teacher_tree_gives_each_noisy_frame_the_clean_past(norm: str) -> None:
    model = make_tiny_model(temporal_norm=norm)
    clean, levels, cond = clip(model, 5)
    noisy, noisy_levels, _ = clip(model, 5, seed=1)
    twice = [*range(5), *range(5)]
    both, _ = model.network(
        torch.cat([clean, noisy], 1),
        torch.cat([levels, noisy_levels], 1),
        cond.frames(twice),
        tree=FrameTree.teacher(5),
    )
    for frame in range(5):
        frames = torch.cat([clean[:, :frame], noisy[:, frame : frame + 1]], 1)
        at = torch.cat([levels[:, :frame], noisy_levels[:, frame : frame + 1]], 1)
        alone, _ = model.network(frames, at, cond.frames(slice(0, frame + 1)))
        torch.testing.assert_close(both[:, 5 + frame], alone[:, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", [SamplingConfig(), SamplingConfig(3, guidance_scale=2.0, eta=0.5)])
def test_repeat_select_and_scatter_commute_with_stepping(sampling: SamplingConfig) -> None:
    model = make_tiny_model()

    def generators(n: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(n)]

    g = torch.Generator().manual_seed(0)
    long = model.init_state(
        torch.randn(3, 5, 4, 4, 4, generator=g), torch.rand(3, 4, 2, generator=g) * 512, generators(3)
    )
    short = model.init_state(
        torch.randn(1, 2, 4, 4, 4, generator=g), torch.rand(1, 1, 2, generator=g) * 512, generators(1)
    )
    action = torch.rand(3, 2, generator=g) * 512
    mixed = long.scatter([1], short)
    alone = {0: long.select([0]), 1: short, 2: long.select([2])}
    for _ in range(8):  # past the window
        mixed, together = model.step(mixed, action, generators(3), sampling)
        for row, state in alone.items():
            alone[row], latent = model.step(state, action[row : row + 1], generators(3)[row : row + 1], sampling)
            torch.testing.assert_close(latent[0], together[row], atol=2e-5, rtol=1e-5)
    copies, same = model.step(
        long.select([2]).repeat(2), action[[1, 1]], [generators(3)[2], generators(3)[2]], sampling
    )
    torch.testing.assert_close(same[0], same[1], atol=2e-5, rtol=1e-5)
    assert copies.batch_size == 2


def test_stepping_leaves_old_states_untouched() -> None:
    model = make_tiny_model()
    g = torch.Generator()
    state = model.init_state(torch.randn(1, 4, 4, 4, 4), torch.rand(1, 3, 2) * 512, g)
    actions = torch.rand(2, 1, 2) * 512
    _, first = model.step(state, actions[0], g.manual_seed(1))
    later, _ = model.step(state, actions[1], g.manual_seed(1))
    for _ in range(20):
        later, _ = model.step(later, actions[1], g)
    _, again = model.step(state, actions[0], g.manual_seed(1))
    assert torch.equal(first, again)


def test_gradients_flow_through_a_rollout_to_the_actions() -> None:
    model = make_tiny_model()
    g = torch.Generator().manual_seed(0)
    state = model.init_state(torch.randn(1, 4, 4, 4, 4), torch.rand(1, 3, 2) * 512, g)
    actions = (torch.rand(1, 9, 2) * 512).requires_grad_()
    _, latents = model.rollout(state, actions, g)
    latents[:, -1].square().mean().backward()
    assert actions.grad is not None and bool((actions.grad[:, -4:].abs().sum(-1) > 0).all())


def test_memory_and_work_per_step_stay_flat_over_2000_steps() -> None:
    model = make_tiny_model(channel_mult=(1,), attention_downsampling=(1,))
    g = torch.Generator().manual_seed(0)
    state = model.init_state(torch.randn(1, 4, 4, 4, 4), torch.rand(1, 3, 2) * 512, g)
    action, work, memory = torch.rand(1, 2) * 512, [], []
    with torch.inference_mode():
        for step in range(2000):
            if step < 20 or step % 100:
                state, _ = model.step(state, action, g)
                continue
            with FlopCounterMode(display=False) as counter:
                state, _ = model.step(state, action, g)
            work.append(counter.get_total_flops())
            memory.append(sum(tensor.untyped_storage().nbytes() for tensor in _tensors(state.cache)))
    assert len(set(work)) == 1
    assert len(set(memory)) == 1


def _tensors(cache: NetworkCache) -> list[torch.Tensor]:
    return [entry if isinstance(entry, torch.Tensor) else entry.buffer for entry in cache.entries]


def test_rows_replaced_leave_room_for_the_frames_that_follow() -> None:
    """The frame after a reset is written behind the log that the reset made; neither changes the memory before."""
    frames = torch.arange(24.0).view(3, 4, 2)
    long, short = (
        NetworkCache((FrameLog.of(frames),), length=4),
        NetworkCache((FrameLog.of(-frames[:1, :2]),), length=2),
    )
    mixed = long.scatter(torch.tensor([1]), short, batch=3)
    log = mixed.entries[0]
    assert isinstance(log, FrameLog) and mixed.valid is not None
    assert mixed.valid.tolist() == [[True] * 4, [False] * 2 + [True] * 2, [True] * 4]
    torch.testing.assert_close(log.frames[1], torch.cat([torch.zeros(2, 2), -frames[0, :2]]))
    _, longer = log.append(torch.ones(3, 1, 2), keep=1, limit=6)
    assert longer.buffer is log.buffer
    torch.testing.assert_close(log.frames[[0, 2]], frames[[0, 2]])
    torch.testing.assert_close(frames, torch.arange(24.0).view(3, 4, 2))


def test_rows_of_an_empty_memory_are_filled_and_the_others_stay_unknown() -> None:
    frames = torch.ones(1, 2, 3)
    some = NetworkCache((FrameLog.of(frames), frames[:, :1]), length=2)
    filled = NetworkCache().scatter(torch.tensor([2]), some, batch=3)
    assert filled.valid is not None and filled.valid.tolist() == [[False] * 2, [False] * 2, [True] * 2]
    log, last = filled.entries
    assert isinstance(log, FrameLog) and isinstance(last, torch.Tensor)
    assert log.frames[:, :, 0].tolist() == [[0, 0], [0, 0], [1, 1]] and last[:, :, 0].tolist() == [[0], [0], [1]]
    emptied = some.repeat(3).scatter(torch.tensor([0]), NetworkCache(), batch=3)
    assert emptied.valid is not None and emptied.valid[:, 0].tolist() == [False, True, True]
    with pytest.raises(ValueError, match="shorter"):  # another network's
        some.scatter(torch.tensor([0]), NetworkCache(some.entries[:1], length=2), batch=1)
