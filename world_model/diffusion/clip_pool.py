"""Clips that are trained on several times, each time with what the network last made of them as their past."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from world_model.diffusion.loss_config import LossConfig


@dataclass
class ClipPool:
    """The clips of a training with `self_history_pool`, and how often each is still to be trained on.

    A clip enters as recorded, or with the dream that it corrects as its past. What the network predicts of it at one
    step is its past at its next step, some steps later, so that a chain of predictions costs nothing but the steps that
    learn from it. Clips of a batch are as deep in their chains as chance has it. When a clip has had its passes a new
    one takes its place.

    Attributes:
        config: how many clips there are, and how deep their chains get.
        clips: latents, history and actions of each, and the passes that are left to it; empty before the first batch.
    """

    config: LossConfig
    clips: dict[str, Tensor] = field(default_factory=dict)

    def draw(
        self, latents: Tensor, history: Tensor, actions: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As many clips of the pool as there are new ones, which take the place of those that are done.

        Args:
            latents: of the new clips, ``[b t c h w]``.
            history: their first past, of the same shape.
            actions: theirs, ``[b t-1 a]``.

        Returns:
            the places of the drawn clips in the pool ``[b]``, and these: ``latents`` and ``history`` ``[b t c h w]``
            and ``actions``.
        """
        b, device = len(latents), latents.device
        self.clips = {name: clips.to(device) for name, clips in self.clips.items()}
        deep = torch.rand(b, generator=generator) < self.config.self_history
        passes = torch.randint(1, self.config.self_history_passes + 1, (b,), generator=generator)
        new = {
            "latents": latents,
            "history": history,
            "actions": actions,
            "left": (1 + passes * deep).to(device),
        }
        if not self.clips or len(self.clips["left"]) < self.config.self_history_pool:
            self.clips = {name: torch.cat([self.clips.get(name, clips[:0]), clips]) for name, clips in new.items()}
        places = torch.randperm(len(self.clips["left"]), generator=generator)[:b].to(device)
        done = places[self.clips["left"][places] == 0]
        for name, clips in new.items():
            self.clips[name][done] = clips[: len(done)]
        return places, {name: clips[places] for name, clips in self.clips.items()}

    def predicted(self, places: Tensor, frames: Tensor, told: Tensor) -> None:
        """What the network made of the drawn clips becomes their past.

        Args:
            frames: predicted latents ``[b t c h w]``.
            told: which of them were predicted from a known action ``[b t]``; others stay, as the context's do.
        """
        keep = told.clone()
        keep[:, : self.config.context_frames] = False
        history = self.clips["history"]
        history[places] = torch.where(keep[:, :, None, None, None], frames.to(history), history[places])
        self.clips["left"][places] -= 1
