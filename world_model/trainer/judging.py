"""A reward head's loss as a LightningModule, and its judgement over whole episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from world_model.calibration import outcome_measures
from world_model.reward_head import RewardHead
from world_model.trainer.outcomes import OutcomeBatch, OutcomeClips
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepping import SteppedModule


class RewardHeadModule(SteppedModule):
    """Trains a head on pieces of episodes, and keeps the weights that did best on the validation split.

    Endings are few, so a head begins to learn them by heart long before it has seen them often.

    Args:
        context_frames: at the start of a piece stay recorded ones, as in a dream.
        imagined_share, latent_noise, reward_weight: see `RewardTrainConfig`.
        validation: whole episodes to judge; None for none.
    """

    def __init__(
        self,
        head: RewardHead,
        run: RunConfig,
        optimizer: OptimizerConfig,
        context_frames: int,
        imagined_share: float,
        latent_noise: float,
        reward_weight: float,
    ) -> None:
        super().__init__(run, optimizer)
        self.head = head.train().requires_grad_(True)
        self.context_frames = context_frames
        self.imagined_share = imagined_share
        self.latent_noise = latent_noise
        self.reward_weight = reward_weight
        self.best: dict[str, Tensor] = {}
        self.best_loss = float("inf")
        self._losses: list[tuple[float, float]] = []

    def training_step(self, batch: OutcomeBatch, batch_idx: int) -> Tensor:
        latents = self._mixed(batch, self.step_generator())
        termination, reward = outcome_loss(self.head, latents, batch)
        self.log("train/termination", termination.detach(), prog_bar=True)
        self.log("train/reward", reward.detach())
        return termination + self.reward_weight * reward

    def validation_step(self, batch: OutcomeBatch, batch_idx: int) -> None:
        """On recorded and imagined frames, in the shares of training."""
        weight, loss = float(batch["known"].sum()), 0.0
        for latents, share in ((batch["latents"], 1 - self.imagined_share), (batch["imagined"], self.imagined_share)):
            if share:
                termination, reward = outcome_loss(self.head, latents, batch)
                loss += share * float(termination + self.reward_weight * reward)
        self._losses.append((loss, weight))

    def on_validation_epoch_end(self) -> None:
        weight = sum(weight for _, weight in self._losses)
        loss = sum(loss * weight for loss, weight in self._losses) / max(weight, 1.0)
        self._losses = []
        self.log("validation/loss", loss, prog_bar=True)
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["best"], checkpoint["best_loss"] = self.best, self.best_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.best, self.best_loss = checkpoint["best"], checkpoint["best_loss"]

    def _mixed(self, batch: OutcomeBatch, generator: torch.Generator) -> Tensor:
        """Latents `[b t c h w]` of which some rows are imagined ones behind their context, all a little disturbed."""
        latents = batch["latents"]
        chosen = torch.rand(len(latents), generator=generator) < self.imagined_share
        behind = torch.arange(latents.shape[1]) >= self.context_frames
        dreamed = (chosen[:, None] & behind)[:, :, None, None, None].to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        return torch.where(dreamed, batch["imagined"], latents) + self.latent_noise * noise


def outcome_loss(head: RewardHead, latents: Tensor, batch: OutcomeBatch) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of the terminations and mean squared error of the rewards, in units of their scale.

    The cross entropy is not weighted: rare as endings are, the probabilities have to mean what they say.
    """
    reward, logit = head.outputs(head.sequence(latents, batch["actions"])[:, 1:])
    known = batch["known"]
    termination = functional.binary_cross_entropy_with_logits(logit, batch["terminations"], reduction="none")
    target = (batch["rewards"] - head.reward_mean) / head.reward_scale.clamp_min(1e-6)
    error = (reward - target).square()
    return (termination * known).sum() / known.sum(), (error * known).sum() / known.sum()


@torch.inference_mode()
def judge(head: RewardHead, clips: OutcomeClips, of: str, batch: int = 16) -> tuple[np.ndarray, ...]:
    """What a head says of whole episodes.

    Args:
        of: "latents" or "imagined", a key of `OutcomeBatch`.

    Returns:
        predicted rewards, termination probabilities, recorded rewards and terminations, float64 and bool `[n]`, of all
        steps of all episodes.
    """
    device = head.judge.weight.device
    found: list[tuple[np.ndarray, ...]] = []
    for pieces in clips.whole(batch):
        latents = pieces["latents"] if of == "latents" else pieces["imagined"]
        memories = head.sequence(latents.to(device), pieces["actions"].to(device))[:, 1:]
        known = pieces["known"].bool()
        values = (*(value.cpu() for value in head.predict(memories)), pieces["rewards"], pieces["terminations"])
        found.append(tuple(value[known].double().numpy() for value in values))
    rewards, probabilities, true_rewards, ended = (np.concatenate(column) for column in zip(*found, strict=True))
    return rewards, probabilities, true_rewards, ended > 0.5


def measures(head: RewardHead, clips: OutcomeClips, of: str) -> dict[str, float]:
    """`outcome_measures` of whole episodes; see :func:`judge`."""
    return outcome_measures(*judge(head, clips, of))
