"""Clean past and noisy present side by side: every frame is predicted from the past it will have when streamed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from world_model.diffusion.denoiser import Denoiser
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.loss_config import LossConfig
from world_model.diffusion.parameterization import add_noise, clean_from_v, frame_error, v_of_clean, v_target
from world_model.diffusion.randomness import noise_like
from world_model.diffusion.schedule import Schedule
from world_model.network.time import FrameTree
from world_model.types import Conditioning


@dataclass(frozen=True)
class TeacherForcing:
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
        return add_noise(history, noise_like(history, self.generator), self.schedule.signal(past)), past

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
    ) -> tuple[Tensor, Tensor]:
        """Squared error of v per frame, ``[b t]``: of the recorded frames', or of the one a teacher would have had.

        Also the frames as predicted, ``[b t c h w]``, detached.
        """
        scaled, signal = latents * self.schedule.rescale(levels), self.schedule.signal(levels)
        noisy, (seen, past) = add_noise(scaled, noise, signal), self._seen(history)
        v = self._beside(self.network, seen, past, noisy, levels, self.cond)
        predicted = clean_from_v(noisy, v.detach(), signal) / self.schedule.rescale(levels)
        if distillation is None:
            return frame_error(v - v_target(scaled, noise, signal), weights), predicted
        taught = distillation.clean(
            lambda x, at: self._beside(distillation.teacher, seen, past, x, at, self.cond), noisy, levels
        )
        return frame_error(v - v_of_clean(noisy, taught, signal), weights), predicted

    def imagine(self, history: Tensor, recorded: Tensor, levels: Tensor) -> Tensor:
        """Every frame predicted in one step from the recorded one at its level, given the history before it."""
        signal, rescale = self.schedule.signal(levels), self.schedule.rescale(levels)
        noisy = add_noise(recorded * rescale, noise_like(history, self.generator), signal)
        return clean_from_v(noisy, self.predict(history, noisy, levels, self.known), signal) / rescale

    def of_rows(self, rows: Tensor) -> TeacherForcing:
        return replace(self, known=self.known.rows(rows), cond=self.cond.rows(rows))


@torch.no_grad()
def own_history(
    forcing: TeacherForcing, latents: Tensor, config: LossConfig, distillation: Distillation | None
) -> Tensor:
    """The recorded past with, in some clips, all frames after the context imagined (one to several passes deep)."""
    b = latents.shape[0]
    rows = (torch.rand(b, generator=forcing.generator) < config.self_history).nonzero()[:, 0].to(latents.device)
    passes = int(torch.randint(config.self_history_passes, (1,), generator=forcing.generator)) + 1
    if not len(rows):
        return latents
    chosen, recorded = forcing.of_rows(rows), latents[rows]
    history = recorded
    for _ in range(passes):
        levels = _start_levels(forcing, recorded, config, distillation)
        imagined = chosen.imagine(history, recorded, levels)
        history = torch.cat(
            [recorded[:, : config.context_frames], imagined.to(recorded)[:, config.context_frames :]], 1
        )
    return latents.index_copy(0, rows, history)


def _start_levels(
    forcing: TeacherForcing, recorded: Tensor, config: LossConfig, distillation: Distillation | None
) -> Tensor:
    """Levels ``[b t]`` that frames of an imagined history start from; a student's last step is all it can do alone."""
    shape, highest = recorded.shape[:2], forcing.schedule.config.num_levels - 1
    if distillation is not None:
        levels = torch.full(shape, distillation.student.levels[0])
    elif config.self_history_start == "drawn":
        levels = torch.randint(config.levels.lowest, highest + 1, shape, generator=forcing.generator)
    else:
        levels = torch.full(shape, highest)
    return levels.to(recorded.device)


def _join(a: Tensor | None, b: Tensor | None) -> Tensor:
    assert a is not None and b is not None
    return torch.cat([a, b], dim=1)
