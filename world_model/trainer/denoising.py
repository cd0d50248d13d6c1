"""The denoiser's loss as a LightningModule, on clips of latents or of pixels."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from world_model.diffusion.clip_pool import ClipPool
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.loss import training_loss
from world_model.model import WorldModel
from world_model.trainer.latents import LatentClip
from world_model.trainer.pixels import PixelClip, PixelEncoder
from world_model.trainer.recipe import Recipe
from world_model.trainer.stepping import SteppedModule


class WorldModelModule(SteppedModule):
    """Trains the network and, where there is one, the conditioner's projector.

    Only these two are submodules, so only they are averaged, shared among devices and kept in checkpoints; autoencoder
    and image tower stay as they are.

    Args:
        world: its trained parts are switched to training.
        encoder: turns batches of `PixelClip` into latents; without it batches are `LatentClip`.
        distillation: learn from a teacher of more sampling steps.
    """

    def __init__(
        self,
        world: WorldModel,
        recipe: Recipe,
        encoder: PixelEncoder | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__(recipe.run, recipe.optimizer)
        self.network = world.network.train().requires_grad_(True)
        self.network.gradient_checkpointing = recipe.gradient_checkpointing
        self.projector = None
        if world.conditioner is not None:
            self.projector = world.conditioner.projector.train().requires_grad_(True)
        self.schedule = world.schedule
        self.loss_config = recipe.loss
        self.encoder = encoder
        self.distillation = distillation
        self.pool = ClipPool(recipe.loss) if recipe.loss.self_history_pool else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.pool is not None:
            checkpoint["clip_pool"] = self.pool.clips

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.pool is not None:
            self.pool.clips = checkpoint.get("clip_pool", {})

    def training_step(self, batch: LatentClip | PixelClip, batch_idx: int) -> Tensor:
        loss, logs = self._loss(batch, self.step_generator())
        self.log_dict({f"train/{name}": value for name, value in logs.items() if name != "loss"})
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: LatentClip | PixelClip, batch_idx: int) -> None:
        # The same levels and noise every time, or the curve would show the draw and not the model.
        loss, logs = self._loss(batch, torch.Generator().manual_seed(batch_idx))
        size = len(batch["actions"])
        self.log_dict({f"validation/{n}": v for n, v in logs.items() if n != "loss"}, sync_dist=True, batch_size=size)
        self.log("validation/loss", loss, prog_bar=True, sync_dist=True, batch_size=size)

    def _loss(self, batch: LatentClip | PixelClip, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if self.encoder is None:
            clip = cast(LatentClip, batch)
            latents, scene, unusual, history = clip["latents"], None, clip.get("unusual"), clip.get("history")
        else:
            latents, scene = self.encoder(cast(PixelClip, batch)["frames"], generator, self.training)
            unusual = history = None
        return training_loss(
            self.network,
            self.schedule,
            latents,
            batch["actions"],
            self.loss_config,
            generator,
            scene,
            unusual,
            self.distillation,
            self.pool if self.training else None,
            history,
        )


class FrozenParts(Callback):
    """Moves what is not trained, and so is no submodule of the LightningModule, to the device of what is."""

    def __init__(self, world: WorldModel, distillation: Distillation | None = None) -> None:
        self.world, self.distillation = world, distillation

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        device, conditioner = trainer.strategy.root_device, self.world.conditioner
        self.world.autoencoder.to(device)
        if conditioner is not None:
            conditioner.image_tower.to(device)
            conditioner.caption = conditioner.caption.to(device)
        if self.distillation is not None:
            self.distillation.teacher.to(device)
