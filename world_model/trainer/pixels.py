"""Clips of pixels, encoded when their turn comes: for augmentation, and for datasets too large to encode beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypedDict

import lightning as L
import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader

from world_model.data import Augmentation, ClipDataset, Letterbox, RecordedDataset
from world_model.data.windows import Clip
from world_model.model import WorldModel
from world_model.trainer.frames import to_float
from world_model.trainer.settings import RunConfig
from world_model.trainer.stepped_batches import SteppedBatches, spread_batches
from world_model.types import Scene


class PixelClip(TypedDict):
    """A batch: frames uint8 `[t h w 3]` of each clip, in the size they were recorded at; actions `[b t-1 a]`."""

    frames: list[Tensor]
    actions: Tensor


class PixelClipDataModule(L.LightningDataModule):
    """Batches of `PixelClip`, read from the files as they are needed; the test split is never read.

    Args:
        recorded: the dataset; its letterbox is left to `PixelEncoder`.
        window: frames per clip.
        short: what to do with episodes of fewer frames.
        workers: processes that read; 0 reads in this one.
    """

    def __init__(
        self, recorded: RecordedDataset, window: int, short: Literal["error", "skip"], run: RunConfig, workers: int = 0
    ) -> None:
        super().__init__()
        self.recorded = replace(recorded, transform=None)
        self.window = window
        self.short = short
        self.run = run
        self.workers = workers
        self.train: ClipDataset | None = None
        self.validation: ClipDataset | None = None

    def setup(self, stage: str) -> None:
        if self.train is None:
            self.train = self.recorded.clips("train", self.window, short=self.short)
            self.validation = self.recorded.clips("validation", self.window, short=self.short)

    def train_dataloader(self) -> DataLoader[Clip]:
        assert self.train is not None and self.trainer is not None
        return self._loader(self.train, SteppedBatches.of(self.trainer, len(self.train), self.run))

    def val_dataloader(self) -> DataLoader[Clip]:
        assert self.validation is not None
        return self._loader(self.validation, spread_batches(len(self.validation), self.run))

    def _loader(self, clips: ClipDataset, batches: SteppedBatches | list[list[int]]) -> DataLoader[Clip]:
        return DataLoader(
            clips,
            batch_sampler=batches,
            collate_fn=_collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class PixelEncoder:
    """Latents `[b t c h w]` of clips, and the scene that their first frames are to a model with a conditioner.

    Args:
        world: whose autoencoder and conditioner are used.
        letterbox: brings frames to the model's size; None if they have it.
        augmentation: of training clips, before the letterbox, so that bars stay black and in place.
        posterior: latents are drawn from the autoencoder's posterior, as the published models' were, or its mean.
        image_dropout: share of training clips whose first frame is grey to the conditioner. The published recipe drops
            the caption alone, caption and image, or the image alone, each in 5 % of the clips; since captions are
            empty, that is an image dropout of 0.1. The first frame's latent is never dropped.
    """

    def __init__(
        self,
        world: WorldModel,
        letterbox: Letterbox | None,
        augmentation: Augmentation,
        posterior: Literal["sample", "mean"] = "mean",
        image_dropout: float = 0.0,
    ) -> None:
        self.world = world
        self.letterbox = letterbox
        self.augmentation = augmentation
        self.posterior = posterior
        self.image_dropout = image_dropout

    def __call__(
        self, frames: Sequence[Tensor], generator: torch.Generator, training: bool
    ) -> tuple[Tensor, Scene | None]:
        """Clips uint8 `[t h w 3]` to latents and scene.

        Args:
            generator: a CPU generator; everything drawn comes from it.
            training: augment and drop.

        Raises:
            ValueError: for frames that do not have the model's size, where there is no letterbox.
        """
        with torch.no_grad():
            pixels = [to_float(self._prepared(clip, generator, training)) for clip in frames]
            draw = generator if self.posterior == "sample" else None
            latents = torch.cat([self.world.encode(clip[None], draw) for clip in pixels])
        if self.world.conditioner is None:
            return latents, None
        first = torch.stack([clip[0] for clip in pixels])
        if training:
            dropped = torch.rand(len(first), generator=generator) < self.image_dropout
            first = first * (~dropped).to(first)[:, None, None, None]
        return latents, Scene(latents[:, 0], self.world.conditioner(first))

    def _prepared(self, clip: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        if training and self.augmentation.changes:
            clip = rearrange(self.augmentation(clip[None], generator), "1 t h w c -> t h w c")
        return clip if self.letterbox is None else self.letterbox(clip)

    def __deepcopy__(self, memo: dict[int, object]) -> PixelEncoder:
        return self  # a copy of the trained module, for an average, shares what is not trained


def _collate(clips: list[Clip]) -> PixelClip:
    """Episodes may differ in frame size before the letterbox, so frames stay apart."""
    return PixelClip(
        frames=[clip["frames"] for clip in clips], actions=torch.stack([clip["actions"] for clip in clips])
    )
