"""Training losses: diffusion forcing as published, and teacher forcing for models that will be streamed."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from world_model.diffusion.clip_pool import ClipPool
from world_model.diffusion.denoiser import Denoiser
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.loss_config import LossConfig
from world_model.diffusion.noise_levels import draw_levels
from world_model.diffusion.parameterization import add_noise, frame_error, v_target
from world_model.diffusion.randomness import noise_like
from world_model.diffusion.schedule import Schedule
from world_model.diffusion.teacher_forcing import TeacherForcing, own_history
from world_model.types import Conditioning, Scene, incoming_actions

__all__ = ["NEW", "LossConfig", "denoising_error", "place_weights", "training_loss"]

NEW = 0.3  # how much what is unusual in a frame counts beside what was in the frame before


def training_loss(
    network: Denoiser,
    schedule: Schedule,
    latents: Tensor,
    actions: Tensor,
    config: LossConfig,
    generator: torch.Generator,
    scene: Scene | None = None,
    unusual: Tensor | None = None,
    distillation: Distillation | None = None,
    pool: ClipPool | None = None,
    dreamt: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error of v on a batch of clips.

    Args:
        latents: ``[b t c h w]`` clean.
        actions: ``[b t-1 a]``, ``actions[:, i]`` leads from frame ``i`` to ``i + 1``.
        generator: a CPU generator; all levels, masks and noise come from it.
        scene: what the clips' first frames tell a network that is conditioned on them.
        unusual: how far each place is from the usual, ``[b t h w]`` in squared deviations; needed for ``salience``.
        distillation: learn from what a teacher makes of the noisy frames, at the levels it names, and not from the
            recorded frames; for teacher forcing.
        pool: the clips of this training, where ``config`` asks for that; of clips with neither scene nor ``unusual``.
        dreamt: the past that the network sees instead of ``latents``, and that they follow from, ``[b t c h w]``; for
            teacher forcing whose past is not of its own making, or in a pool, where it is a clip's first one.

    Returns:
        the scalar loss, and detached scalars to log.

    Raises:
        ValueError: if ``unusual`` is needed and missing, or the objective cannot be distilled, or not with a pool, or
            the past is to be of the network's own making although it is given.
    """
    if distillation is not None and config.objective != "teacher_forcing":
        raise ValueError(f"loss.objective: expected teacher_forcing for distillation, got {config.objective!r}")
    if dreamt is not None and (config.objective != "teacher_forcing" or (config.self_history and pool is None)):
        raise ValueError(
            "loss: expected objective=teacher_forcing, and self_history=0 or a pool, where the past is given"
        )
    history, places = latents if dreamt is None else dreamt, torch.empty(0, dtype=torch.long)
    if pool is not None:
        if scene is not None or unusual is not None or distillation is not None:
            raise ValueError("loss.self_history_pool: expected neither conditioner nor salience nor distillation")
        places, clips = pool.draw(latents, history, actions, generator)
        latents, history, actions = clips["latents"], clips["history"], clips["actions"]
    b, t = latents.shape[:2]
    aligned, mask = incoming_actions(actions)
    if config.first_action == "zero":
        mask = torch.ones_like(mask)
    keep = (torch.rand(b, t, generator=generator) >= config.action_dropout).to(mask)
    cond = Conditioning(actions=aligned, action_mask=mask * keep)
    if scene is not None:
        cond = replace(cond, context=scene.context, concat=repeat(scene.concat, "b c h w -> b t c h w", t=t))
    if distillation is None:
        levels = draw_levels((b, t), config.levels, generator).to(latents.device)
    else:
        levels = distillation.draw_levels((b, t), generator).to(latents.device)
    noise = noise_like(latents, generator)
    weights = place_weights(unusual, config.salience) if config.salience else None
    if config.objective == "diffusion_forcing":
        error = denoising_error(network, schedule, latents, levels, noise, cond, weights)
        return error.mean(), _logs(error, levels)

    known = replace(cond, action_mask=mask)  # the past happened: its actions are never hidden
    forcing = TeacherForcing(network, schedule, known, cond, config.max_history_level, generator)
    if config.self_history and pool is None:
        history = own_history(forcing, latents, config, distillation)
    error, predicted = forcing.error(history, latents, levels, noise, weights, distillation)
    if pool is not None:
        pool.predicted(places, predicted, keep.bool())
    error = error[:, 1:]
    return error.mean(), _logs(error, levels[:, 1:])


def denoising_error(
    network: Denoiser,
    schedule: Schedule,
    latents: Tensor,
    levels: Tensor,
    noise: Tensor,
    cond: Conditioning,
    weights: Tensor | None = None,
) -> Tensor:
    """Squared error of v per frame, ``[b t]``; latents shrink with the level where the schedule rescales.

    Args:
        weights: of places, ``[b t 1 h w]``.
    """
    scaled, signal = latents * schedule.rescale(levels), schedule.signal(levels)
    v, _ = network(add_noise(scaled, noise, signal), levels, cond)
    return frame_error(v - v_target(scaled, noise, signal), weights)


def place_weights(unusual: Tensor | None, strength: float) -> Tensor:
    """How much each place counts, ``[b t 1 h w]``, 1 on average; see ``salience`` of `LossConfig`."""
    if unusual is None:
        raise ValueError(f"loss.salience: expected 0 where nothing says what is unusual, got {strength}")
    near = F.max_pool2d(unusual, 3, 1, 1)
    before = torch.cat([near[:, :1], near[:, :-1]], dim=1)
    weights = 1 + strength * torch.maximum(before, NEW * unusual)[:, :, None]
    return weights / weights.mean()


def _logs(error: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Error at pure noise and below the middle level, where there are such frames in the batch."""
    error = error.detach()
    logs = {"loss": error.mean()}
    for name, chosen in (("loss_terminal", levels >= 999), ("loss_low", levels < 500)):
        if bool(chosen.any()):
            logs[name] = error[chosen].mean()
    return logs
