"""From a world model and its data to a bundle: what all recipes have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from world_model.checkpoints.assemble import fill, skeleton
from world_model.data import RecordedDataset
from world_model.diffusion.distillation import Distillation
from world_model.model import WorldModel
from world_model.trainer.averaging import WeightEMA
from world_model.trainer.card import card
from world_model.trainer.denoising import FrozenParts, WorldModelModule
from world_model.trainer.fit import fit
from world_model.trainer.pixels import PixelEncoder
from world_model.trainer.recipe import Recipe
from world_model.trainer.samples import Samples, validation_clips
from world_model.trainer.sharding import ShardedWorldModelModule


def train(
    recipe: Recipe,
    world: WorldModel,
    recorded: RecordedDataset,
    data: L.LightningDataModule,
    encoder: PixelEncoder | None = None,
    distillation: Distillation | None = None,
) -> Path:
    """Train and save a bundle; its reset clips come from the validation split.

    Args:
        world: whose network (and projector) train; its tensors are not to be used afterwards.
        data: batches of `LatentClip`, or, with `encoder`, of `PixelClip`.
        distillation: learn to do in few sampling steps what a teacher does in many.

    Returns:
        the bundle's folder, `bundle` in the run's folder.
    """
    _check_frame_size(world)
    folder = Path(recipe.run.folder)
    module = (ShardedWorldModelModule if recipe.run.sharded else WorldModelModule)(world, recipe, encoder, distillation)
    callbacks: list[Callback] = [FrozenParts(world, distillation)]
    if recipe.samples.every:
        callbacks.append(Samples(world, recorded, recipe.samples, folder / "samples"))
    average = WeightEMA(recipe.ema_decay) if recipe.ema_decay else None
    trainer = fit(module, data, recipe.run, [*callbacks, *([average] if average else [])])
    if average:
        average.apply(module)
    weights = trainer.strategy.lightning_module_state_dict()  # put together on the first device
    if trainer.is_global_zero:
        facts = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("validation/")}
        text = card(recipe, recorded, trainer.global_step, module.seconds, facts)
        save_bundle(folder / "bundle", with_weights(world, weights), recorded, recipe, text)
    trainer.strategy.barrier()
    return folder / "bundle"


def with_weights(world: WorldModel, weights: Mapping[str, Tensor]) -> WorldModel:
    """A world model on the CPU: trained `weights`, as `WorldModelModule` names them, and the untrained rest of `world`.

    The trained parts of `world` itself may lie in pieces on several devices.
    """
    tensors = {name.replace("projector.", "conditioner.projector.", 1): tensor for name, tensor in weights.items()}
    tensors |= {f"autoencoder.{name}": tensor for name, tensor in world.autoencoder.state_dict().items()}
    if world.conditioner is not None:
        tower = world.conditioner.image_tower.state_dict()
        tensors |= {f"conditioner.image_tower.{name}": tensor for name, tensor in tower.items()}
        tensors["conditioner.caption"] = world.conditioner.caption
    return fill(skeleton(world.config), ((name, tensor.detach().cpu()) for name, tensor in tensors.items()))


def save_bundle(folder: Path, world: WorldModel, recorded: RecordedDataset, recipe: Recipe, text: str) -> Path:
    """Write the bundle with reset clips of the validation split."""
    length = recipe.reset_frames or recipe.context_frames
    frames, actions = validation_clips(recorded, recipe.reset_clips, length)
    episodes = {"frames": frames.numpy(), "actions": recorded.action_spec.to_native(actions)}
    return world.save_pretrained(folder, episodes, text)


def _check_frame_size(world: WorldModel) -> None:
    """Raises ValueError for frames that autoencoder and network cannot halve as often as they have to."""
    config = world.config
    cell = config.autoencoder.downsample * 2 ** (len(config.network.channel_mult) - 1)
    if any(side % cell for side in config.frame_size):
        height, width = config.frame_size
        raise ValueError(
            f"dataset: frames of {height}x{width} pixels, but this model needs sides divisible by {cell}; set "
            f"dataset.frame_size=[{-(-height // cell) * cell}, {-(-width // cell) * cell}] or another such size"
        )
