"""Stepping by recomputing the whole window, for networks whose past features change with every new frame.

The memory is then the frames themselves: noisy as the network is shown them (the noise is drawn once per frame), with
the actions that led to them. It is kept in a :class:`NetworkCache` like any other memory, so states repeat, select and
scatter as they do when streaming.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.window_sampler import WindowSampler
from world_model.network.cache import FrameLog, NetworkCache
from world_model.next_frame import NextFrame
from world_model.types import Conditioning, Generators, Scene, WorldState, conditioning


def recompute(
    sampler: WindowSampler,
    limit: int,
    state: WorldState,
    new: NextFrame,
    first_action_known: bool,
    generator: Generators,
) -> tuple[NetworkCache, Tensor]:
    """The memory with the newest frame of ``state`` in it, and the next frame ``[b c h w]``.

    Args:
        limit: frames that the memory may hold.
        first_action_known: show the network a zero action at the window's first frame, as the reference does; else that
            action is masked.
        generator: one, or one per row; for samplers that add noise on the way.
    """
    cache = remember(state.cache, new.past, state.action[:, None], state.action_mask[:, None], limit)
    frame = torch.empty_like(new.noise[:, 0])
    for length, rows in _by_length(cache, state.batch_size):
        past, actions, mask = (_log(log).frames[rows, cache.length - length :] for log in cache.entries)
        actions = torch.cat([actions, new.action[rows, None].to(actions)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if first_action_known:
            actions[:, 0], mask[:, 0] = 0, 1
        scene = _rows(state.scene, rows)
        cond = conditioning(actions, mask, scene)
        dropped = without_actions(cond, torch.cat([mask[:, :-1], torch.zeros_like(mask[:, -1:])], dim=1), scene)
        draw = partial(draw_noise, generator=_generators(generator, rows), device=frame.device)
        frame[rows] = sampler.newest(past, new.past_level, new.noise[rows], cond, dropped, draw)[:, 0]
    return cache, frame


def remember(cache: NetworkCache, noisy: Tensor, actions: Tensor, mask: Tensor, limit: int) -> NetworkCache:
    """Add frames ``[b f c h w]`` with the actions ``[b f a]`` (mask ``[b f]``) that led to them; keeps ``limit``."""
    new = (noisy, actions, mask)
    logs = cache.entries or tuple(FrameLog.of(x[:, :0]) for x in new)
    entries = tuple(_log(log).append(x, x.shape[1], limit)[1] for log, x in zip(logs, new, strict=True))
    length = min(cache.length + noisy.shape[1], limit)
    valid = cache.valid
    if valid is not None:
        valid = torch.cat([valid, valid.new_ones(len(valid), noisy.shape[1])], dim=1)[:, -length:]
        valid = None if bool(valid.all()) else valid
    return NetworkCache(entries, valid, length)


def without_actions(cond: Conditioning, mask: Tensor, scene: Scene | None) -> Conditioning:
    """What guidance pushes away from: only the actions that ``mask`` leaves, and the context that goes with that."""
    dropped = replace(cond, action_mask=mask)
    if scene is None or scene.dropped_context is None:
        return dropped
    return replace(dropped, context=scene.dropped_context)


def _by_length(cache: NetworkCache, batch: int) -> list[tuple[int, Tensor]]:
    """Rows with equally long histories: padding would enter norms that look at all frames."""
    if cache.valid is None:
        return [(cache.length, torch.arange(batch))]
    lengths = cache.valid.sum(1).cpu()
    return [(int(length), (lengths == length).nonzero()[:, 0]) for length in lengths.unique()]


def _rows(scene: Scene | None, rows: Tensor) -> Scene | None:
    return None if scene is None else scene.map(lambda x: x[rows])


def _log(entry: FrameLog | Tensor) -> FrameLog:
    assert isinstance(entry, FrameLog)
    return entry


def _generators(generator: Generators, rows: Tensor) -> Generators:
    return generator if isinstance(generator, torch.Generator) else [generator[int(row)] for row in rows]
