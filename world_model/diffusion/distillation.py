"""Few sampling steps that end where many would: progressive distillation (Salimans and Ho 2022).

A sampler of few steps jumps further than the network can see from where it stands: small things that are only likely
are averaged away. Without fresh noise a sampler is a function of the noise it starts from, so a network can learn
where many small steps of its teacher lead and go there at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from world_model.diffusion.parameterization import clean_from_v, noise_from_v
from world_model.diffusion.samplers import DDIMTable, ddim_table
from world_model.diffusion.schedule import Schedule
from world_model.network.unet import CausalUNet


@dataclass(frozen=True)
class Distillation:
    """What a network of few steps learns from one of many.

    Attributes:
        teacher: the network of many steps; it is not trained.
        schedule: of both.
        student_steps: sampling steps of the network that learns.
        teacher_steps: sampling steps of the teacher; a multiple of these.

    Raises:
        ValueError: for numbers of steps that do not go together.
    """

    teacher: CausalUNet
    schedule: Schedule
    student_steps: int
    teacher_steps: int

    def __post_init__(self) -> None:
        if self.teacher_steps % self.student_steps or self.teacher_steps <= self.student_steps:
            raise ValueError(
                f"distillation.steps: expected a multiple of sampling.num_sampling_steps={self.student_steps} above "
                f"it, got {self.teacher_steps}"
            )

    @property
    def student(self) -> DDIMTable:
        return ddim_table(self.schedule, self.student_steps)

    def draw_levels(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """A level for each frame (int64 ``[b t]``, on the CPU), of those the student will be at; all as likely."""
        levels = torch.tensor(self.student.levels)
        return levels[torch.randint(self.student_steps, shape, generator=generator)]

    @torch.no_grad()
    def clean(self, predict: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, levels: Tensor) -> Tensor:
        """The clean latents that the student has to predict so that its next step lands where the teacher's do.

        Args:
            predict: gives the teacher's v of latents ``[b t c h w]`` at levels ``[b t]``.
            noisy: ``[b t c h w]``, each frame at its level.
            levels: as drawn.

        Returns:
            ``[b t c h w]``.
        """
        teacher, stride = ddim_table(self.schedule, self.teacher_steps), self.teacher_steps // self.student_steps
        steps = torch.searchsorted(torch.tensor(self.student.levels), levels.cpu())
        x = noisy
        for lower in range(stride):
            at = (steps + 1) * stride - 1 - lower
            signal, previous, scale = _coefficients(teacher, at, noisy)
            v = predict(x, torch.tensor(teacher.levels)[at].to(noisy.device))
            clean, noise = clean_from_v(x, v, signal) * scale, noise_from_v(x, v, signal)
            x = previous.sqrt() * clean + (1 - previous).sqrt() * noise
        signal, previous, scale = _coefficients(self.student, steps, noisy)
        kept = ((1 - previous) / (1 - signal)).sqrt()  # how much of `noisy` a step keeps, whatever is predicted
        return (x - kept * noisy) / (previous.sqrt() * scale - kept * signal.sqrt())


def _coefficients(table: DDIMTable, steps: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signal before and after these steps of the table and the factor on clean latents, ``[b t 1 1 1]`` each."""
    columns = (table.alphas, table.alphas_prev, table.scale_ratio)
    signal, previous, scale = (torch.tensor(c)[steps][..., None, None, None].to(like) for c in columns)
    return signal, previous, scale
