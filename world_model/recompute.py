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
from world_model.types import Conditioning, Generators, Scene


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


def imagine(
    sampler: WindowSampler,
    cache: NetworkCache,
    history_level: int,
    action: Tensor,
    noise: Tensor,
    scene: Scene | None,
    first_action_known: bool,
    generator: Generators,
) -> Tensor:
    """The next frame ``[b c h w]`` behind the remembered ones.

    Args:
        action: ``[b a]``, the one that leads to it.
        noise: ``[b 1 c h w]``, where its denoising starts.
        first_action_known: show the network a zero action at the window's first frame, as the reference does; else that
            action is masked.
        generator: one, or one per row; for samplers that add noise on the way.
    """
    frame = torch.empty_like(noise[:, 0])
    for length, rows in _by_length(cache, len(noise)):
        past = [_log(log).frames[rows, cache.length - length :] for log in cache.entries]
        cond = _conditioning(past[1], past[2], action[rows], scene, rows, first_action_known)
        assert cond.action_mask is not None
        mask = torch.cat([cond.action_mask[:, :-1], torch.zeros_like(cond.action_mask[:, -1:])], dim=1)
        dropped = replace(cond, action_mask=mask)
        if scene is not None and scene.dropped_context is not None:
            dropped = replace(dropped, context=scene.dropped_context[rows])
        draw = partial(draw_noise, generator=_generators(generator, rows), device=noise.device)
        frame[rows] = sampler.newest(past[0], history_level, noise[rows], cond, dropped, draw)[:, 0]
    return frame


def _conditioning(
    actions: Tensor, mask: Tensor, action: Tensor, scene: Scene | None, rows: Tensor, first_action_known: bool
) -> Conditioning:
    actions = torch.cat([actions, action[:, None].to(actions)], dim=1)
    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    if first_action_known:
        actions[:, 0], mask[:, 0] = 0, 1
    cond = Conditioning(actions, mask)
    if scene is None:
        return cond
    frames = actions.shape[1]
    concat = scene.concat[rows][:, None].expand(-1, frames, -1, -1, -1)
    return replace(cond, context=scene.context[rows], concat=concat)


def _by_length(cache: NetworkCache, batch: int) -> list[tuple[int, Tensor]]:
    """Rows with equally long histories: padding would enter norms that look at all frames."""
    if cache.valid is None:
        return [(cache.length, torch.arange(batch))]
    lengths = cache.valid.sum(1).cpu()
    return [(int(length), (lengths == length).nonzero()[:, 0]) for length in lengths.unique()]


def _log(entry: FrameLog | Tensor) -> FrameLog:
    assert isinstance(entry, FrameLog)
    return entry


def _generators(generator: Generators, rows: Tensor) -> Generators:
    return generator if isinstance(generator, torch.Generator) else [generator[int(row)] for row in rows]
