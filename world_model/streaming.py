"""Stepping by passing new frames only, for networks whose past features never change."""

from __future__ import annotations

import torch
from torch import Tensor

from world_model.diffusion.denoiser import Denoiser
from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.samplers import DDIMTable, ddim_step
from world_model.diffusion.schedule import Schedule
from world_model.network.cache import NetworkCache
from world_model.next_frame import NextFrame
from world_model.types import Generators, WorldState, conditioning


def stream(
    denoiser: Denoiser, schedule: Schedule, table: DDIMTable, state: WorldState, new: NextFrame, generator: Generators
) -> tuple[NetworkCache, Tensor]:
    """The memory with the newest frame of ``state`` in it, and the next frame ``[b c h w]``.

    The newest frame, unless it is there already, enters the memory in the pass that takes the first look at the new
    one, so a frame costs as many passes as there are steps.

    Args:
        denoiser: the network, or the network under guidance.
        generator: one, or one per row; for samplers that add noise on the way.
    """
    actions = torch.stack([state.action, new.action], dim=1)
    mask = torch.stack([state.action_mask, torch.ones_like(state.action_mask)], dim=1)
    cond = conditioning(actions, mask, state.scene)
    cache, newest, x = state.cache, [1], new.noise
    for step in reversed(range(len(table))):
        levels = torch.full(x.shape[:2], table.levels[step], device=x.device)
        if step == len(table) - 1 and not state.settled:  # commit the past frame on the way
            both = torch.cat([torch.full_like(levels, new.past_level), levels], dim=1)
            v, committed = denoiser(torch.cat([new.past, x], dim=1), both, cond, cache, None, 1)
            assert committed is not None
            cache, v = committed, v[:, 1:]
        else:
            v, _ = denoiser(x, levels, cond.frames(newest), cache, None, 0)
        noise = draw_noise(x.shape, generator, x.device) if table.sigmas[step] else None
        x = ddim_step(table, step, x, v, schedule.signal(levels), noise)
    return cache, x[:, 0]
