"""What stepping costs without streaming: every denoising step passes the whole window through the network.

This is how published video world models are stepped. It is the yardstick for `WorldModel.step`, with which it agrees to
float32 rounding as long as the window has not slid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from world_model.diffusion.guidance import guided
from world_model.diffusion.parameterization import add_noise
from world_model.diffusion.randomness import draw_noise
from world_model.diffusion.samplers import ddim_step, ddim_table
from world_model.model import SamplingConfig, WorldModel
from world_model.types import Conditioning, Generators, incoming_actions


def step_by_recomputation(
    model: WorldModel, latents: Tensor, actions: Tensor, generator: Generators, sampling: SamplingConfig
) -> Tensor:
    """Imagine the frame after `latents`.

    Args:
        model: any world model.
        latents: [b t c h w], t >= 2 frames, all that there is of the episode; t + 1 must fit the window.
        actions: [b t a], the last one acts on the newest frame.
        generator: as for `WorldModel.init_state` followed by `WorldModel.step`, whose draws this repeats.
        sampling: how the new frame is denoised.

    Returns:
        The new frame [b c h w], a clean latent.
    """
    if latents.shape[1] + 1 > model.config.window:
        raise ValueError(f"latents: expected at most {model.config.window - 1} frames, got {latents.shape[1]}")
    older = draw_noise(latents[:, :-1].shape, generator, latents.device)
    newest = draw_noise(latents[:, -1:].shape, generator, latents.device)
    past_levels = torch.full(latents.shape[:2], sampling.history_noise_level, device=latents.device)
    signal = model.schedule.signal(past_levels)
    past = add_noise(latents * model.schedule.rescale(past_levels), torch.cat([older, newest], dim=1), signal)

    aligned, mask = incoming_actions(actions)
    cond = Conditioning(actions=aligned, action_mask=mask)
    denoiser = guided(model.network, sampling.guidance_scale, sampling.guidance_rescale)
    table = ddim_table(model.schedule, sampling.num_sampling_steps, sampling.spacing, sampling.eta)
    x = draw_noise(newest.shape, generator, latents.device)
    for step in reversed(range(len(table))):
        levels = torch.full_like(past_levels[:, :1], table.levels[step])
        v, _ = denoiser(torch.cat([past, x], dim=1), torch.cat([past_levels, levels], dim=1), cond)
        noise = draw_noise(x.shape, generator, x.device) if table.sigmas[step] else None
        x = ddim_step(table, step, x, v[:, -1:], model.schedule.signal(levels), noise)
    return x[:, 0]
