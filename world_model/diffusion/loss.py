"""Training losses: diffusion forcing as published, and teacher forcing for models that will be streamed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from world_model.diffusion.denoiser import Denoiser
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.noise_levels import LevelConfig, draw_levels
from world_model.diffusion.parameterization import add_noise, clean_from_v, v_of_clean, v_target
from world_model.diffusion.schedule import Schedule
from world_model.network.time import FrameTree
from world_model.types import Conditioning, Scene, incoming_actions

NEW = 0.3  # how much what is unusual in a frame counts beside what was in the frame before


@dataclass(frozen=True)
class LossConfig:
    """What a training step asks of the network.

    Attributes:
        objective: ``diffusion_forcing`` noises every frame of a clip by its own level and predicts all of them
            (Vid2World, section 4.2). ``teacher_forcing`` gives every noisy frame the clean past it will have when
            streamed: clean and noisy copies run side by side, twice the work for every frame a useful target.
        levels: distribution of noise levels of the frames to predict.
        max_history_level: teacher forcing noises each history frame by a level drawn from 0..this.
        action_dropout: probability of hiding a frame's action, each frame by itself.
        first_action: what the first frame of a clip is told of the unknown action before it: ``hidden`` as when an
            episode starts here, or ``zero``, an action like all others, as the published models were trained.
        self_history: teacher forcing replaces the recorded past by the network's own predictions in this share of
            the clips, so that it learns to carry on from its own mistakes.
        self_history_start: what those predictions start from: ``noise`` for worlds that follow from their actions, or
            ``drawn``, the recorded frame at a level drawn for it. What happens by chance in the recording then mostly
            stays in the past; from pure noise one step would predict the mean of all that may happen, and the network
            would learn that chance events vanish.
        self_history_passes: most times the past is predicted from an already predicted past, once per chained error.
        context_frames: frames at the start of a clip that stay recorded ones.
        salience: how much more the loss looks where a frame is not as usual. Small things that decide, such as a far
            missile, are lost in the mean over a frame; with this, a place weighs 1 plus ``salience`` times the squared
            distance of its pixels, or its neighbours', from the usual there in the frame before, in deviations. What
            is new in a frame counts only ``NEW`` of that: the more an outcome of chance weighs, the more often it
            would be drawn.
    """

    objective: Literal["diffusion_forcing", "teacher_forcing"] = "diffusion_forcing"
    levels: LevelConfig = field(default_factory=LevelConfig)
    max_history_level: int = 0
    action_dropout: float = 0.2
    first_action: Literal["hidden", "zero"] = "hidden"
    self_history: float = 0.0
    self_history_start: Literal["noise", "drawn"] = "noise"
    self_history_passes: int = 1
    context_frames: int = 4
    salience: float = 0.0

    def __post_init__(self) -> None:
        if not self.salience >= 0:
            raise ValueError(f"loss.salience: expected 0 or more, got {self.salience}")
        if self.objective not in ("diffusion_forcing", "teacher_forcing"):
            raise ValueError(f"loss.objective: expected diffusion_forcing or teacher_forcing, got {self.objective!r}")
        if self.first_action not in ("hidden", "zero"):
            raise ValueError(f"loss.first_action: expected hidden or zero, got {self.first_action!r}")
        if self.self_history_start not in ("noise", "drawn"):
            raise ValueError(f"loss.self_history_start: expected noise or drawn, got {self.self_history_start!r}")


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

    Returns:
        the scalar loss, and detached scalars to log.

    Raises:
        ValueError: if ``unusual`` is needed and missing, or the objective cannot be distilled.
    """
    if distillation is not None and config.objective != "teacher_forcing":
        raise ValueError(f"loss.objective: expected teacher_forcing for distillation, got {config.objective!r}")
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
    noise = _noise(latents, generator)
    weights = place_weights(unusual, config.salience) if config.salience else None
    if config.objective == "diffusion_forcing":
        error = denoising_error(network, schedule, latents, levels, noise, cond, weights)
        return error.mean(), _logs(error, levels)

    known = replace(cond, action_mask=mask)  # the past happened: its actions are never hidden
    teacher = _Teacher(network, schedule, known, cond, config.max_history_level, generator)
    history = latents
    if config.self_history:
        history = _own_history(teacher, latents, config, distillation)
    error = teacher.error(history, latents, levels, noise, weights, distillation)[:, 1:]
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
    return _per_frame(v - v_target(scaled, noise, signal), weights)


def place_weights(unusual: Tensor | None, strength: float) -> Tensor:
    """How much each place counts, ``[b t 1 h w]``, 1 on average; see ``salience`` of `LossConfig`."""
    if unusual is None:
        raise ValueError(f"loss.salience: expected 0 where nothing says what is unusual, got {strength}")
    near = F.max_pool2d(unusual, 3, 1, 1)
    before = torch.cat([near[:, :1], near[:, :-1]], dim=1)
    weights = 1 + strength * torch.maximum(before, NEW * unusual)[:, :, None]
    return weights / weights.mean()


def _per_frame(error: Tensor, weights: Tensor | None) -> Tensor:
    """Mean square ``[b t]`` of an error ``[b t c h w]``."""
    square = error.square()
    return (square if weights is None else weights * square).mean((2, 3, 4))


@dataclass(frozen=True)
class _Teacher:
    """Runs a clean history and noisy copies of all its frames in one call."""

    network: Denoiser
    schedule: Schedule
    known: Conditioning
    cond: Conditioning
    max_history_level: int
    generator: torch.Generator

    def predict(self, history: Tensor, noisy: Tensor, levels: Tensor, cond: Conditioning) -> Tensor:
        """v of the noisy frames ``[b t c h w]``, each seeing only the history before it."""
        return self._beside(self.network, *self._seen(history), noisy, levels, cond)

    def _seen(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """The history as the network is shown it, and its levels."""
        past = torch.randint(self.max_history_level + 1, history.shape[:2], generator=self.generator)
        past = past.to(history.device)
        return add_noise(history, _noise(history, self.generator), self.schedule.signal(past)), past

    def _beside(
        self, network: Denoiser, seen: Tensor, past: Tensor, noisy: Tensor, levels: Tensor, cond: Conditioning
    ) -> Tensor:
        t = seen.shape[1]
        both = Conditioning(
            actions=_join(self.known.actions, cond.actions),
            action_mask=_join(self.known.action_mask, cond.action_mask),
            context=cond.context,
            concat=None if cond.concat is None else _join(cond.concat, cond.concat),
        )
        tree = FrameTree.teacher(t)
        v, _ = network(torch.cat([seen, noisy], 1), torch.cat([past, levels], 1), both, tree=tree)
        return v[:, t:]

    def error(
        self,
        history: Tensor,
        latents: Tensor,
        levels: Tensor,
        noise: Tensor,
        weights: Tensor | None,
        distillation: Distillation | None,
    ) -> Tensor:
        """Squared error of v per frame, ``[b t]``: of the recorded frames', or of the one a teacher would have had."""
        scaled, signal = latents * self.schedule.rescale(levels), self.schedule.signal(levels)
        noisy, (seen, past) = add_noise(scaled, noise, signal), self._seen(history)
        v = self._beside(self.network, seen, past, noisy, levels, self.cond)
        if distillation is None:
            return _per_frame(v - v_target(scaled, noise, signal), weights)
        taught = distillation.clean(
            lambda x, at: self._beside(distillation.teacher, seen, past, x, at, self.cond), noisy, levels
        )
        return _per_frame(v - v_of_clean(noisy, taught, signal), weights)

    def imagine(self, history: Tensor, recorded: Tensor, levels: Tensor) -> Tensor:
        """Every frame predicted in one step from the recorded one at its level, given the history before it."""
        signal, rescale = self.schedule.signal(levels), self.schedule.rescale(levels)
        noisy = add_noise(recorded * rescale, _noise(history, self.generator), signal)
        return clean_from_v(noisy, self.predict(history, noisy, levels, self.known), signal) / rescale

    def of_rows(self, rows: Tensor) -> _Teacher:
        return replace(self, known=self.known.rows(rows), cond=self.cond.rows(rows))


@torch.no_grad()
def _own_history(teacher: _Teacher, latents: Tensor, config: LossConfig, distillation: Distillation | None) -> Tensor:
    """The recorded past with, in some clips, all frames after the context imagined (one to several passes deep)."""
    b = latents.shape[0]
    rows = (torch.rand(b, generator=teacher.generator) < config.self_history).nonzero()[:, 0].to(latents.device)
    passes = int(torch.randint(config.self_history_passes, (1,), generator=teacher.generator)) + 1
    if not len(rows):
        return latents
    chosen, recorded = teacher.of_rows(rows), latents[rows]
    history = recorded
    for _ in range(passes):
        levels = _start_levels(teacher, recorded, config, distillation)
        imagined = chosen.imagine(history, recorded, levels)
        history = torch.cat(
            [recorded[:, : config.context_frames], imagined.to(recorded)[:, config.context_frames :]], 1
        )
    return latents.index_copy(0, rows, history)


def _start_levels(teacher: _Teacher, recorded: Tensor, config: LossConfig, distillation: Distillation | None) -> Tensor:
    """Levels ``[b t]`` that frames of an imagined history start from; a student's last step is all it can do alone."""
    shape, highest = recorded.shape[:2], teacher.schedule.config.num_levels - 1
    if distillation is not None:
        levels = torch.full(shape, distillation.student.levels[0])
    elif config.self_history_start == "drawn":
        levels = torch.randint(config.levels.lowest, highest + 1, shape, generator=teacher.generator)
    else:
        levels = torch.full(shape, highest)
    return levels.to(recorded.device)


def _join(a: Tensor | None, b: Tensor | None) -> Tensor:
    assert a is not None and b is not None
    return torch.cat([a, b], dim=1)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)


def _logs(error: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Error at pure noise and below the middle level, where there are such frames in the batch."""
    error = error.detach()
    logs = {"loss": error.mean()}
    for name, chosen in (("loss_terminal", levels >= 999), ("loss_low", levels < 500)):
        if bool(chosen.any()):
            logs[name] = error[chosen].mean()
    return logs
