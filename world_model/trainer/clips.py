"""Clips of latents and actions of the training and the validation split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from torch.utils.data import DataLoader

from world_model.conditioning.autoencoder import Autoencoder
from world_model.data import RecordedDataset
from world_model.trainer.corrections import CorrectedClips, load_corrections
from world_model.trainer.frames import as_it_is
from world_model.trainer.latents import EncodedEpisodes, LatentClip, LatentClips, cache_name, encoded
from world_model.trainer.salience import unusual_places
from world_model.trainer.settings import RunConfig
from world_model.trainer.stepped_batches import SteppedBatches, spread_batches

MOST_OF_GPU = 0.2  # of its free memory that the dataset may take


class ClipDataModule(L.LightningDataModule):
    """Batches of `LatentClip`; the test split is never read.

    Args:
        recorded: the dataset.
        autoencoder: folder of the autoencoder that gives the latents.
        cache: folder for the latents.
        window: frames per clip.
        short: what to do with episodes of fewer frames.
        salience: whether clips say how unusual each place is.
        corrections: folder of corrected dreams to train on; None: recorded clips only.
        corrected_share: of the training clips, that come from it.
    """

    def __init__(
        self,
        recorded: RecordedDataset,
        autoencoder: str | Path,
        cache: str | Path,
        window: int,
        short: Literal["error", "skip"],
        run: RunConfig,
        salience: bool = False,
        corrections: str | None = None,
        corrected_share: float = 1.0,
    ) -> None:
        super().__init__()
        self.recorded = recorded
        self.autoencoder = autoencoder
        self.cache = Path(cache)
        self.window = window
        self.short = short
        self.run = run
        self.salience = salience
        self.corrections = corrections
        self.corrected_share = corrected_share
        self.train: LatentClips | CorrectedClips | None = None
        self.validation: LatentClips | None = None

    def prepare_data(self) -> None:
        """Fill the cache; Lightning calls this in one process."""
        for part in ("train", "validation"):
            self._episodes(part)

    def setup(self, stage: str) -> None:
        if self.train is None:
            recorded, self.validation = self._clips("train"), self._clips("validation")
            self.train = recorded if self.corrections is None else self._corrected(self.corrections, recorded)

    def train_dataloader(self) -> DataLoader[LatentClip]:
        assert self.train is not None and self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.train), self.run)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[LatentClip]:
        assert self.validation is not None
        batches = spread_batches(len(self.validation), self.run)
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=as_it_is)

    def _clips(self, part: str) -> LatentClips:
        episodes = self._episodes(part)
        if self.trainer is not None:
            episodes = near(episodes, self.trainer.strategy.root_device)
        return LatentClips(episodes, self.window, self.short, f"{self.recorded.path} ({part})")

    def _corrected(self, folder: str, recorded: LatentClips) -> CorrectedClips:
        corrections = load_corrections(folder, self.autoencoder)
        if self.trainer is not None:
            corrections = near(corrections, self.trainer.strategy.root_device)
        return CorrectedClips(LatentClips(corrections, self.window, self.short, folder), recorded, self.corrected_share)

    def _episodes(self, part: str) -> EncodedEpisodes:
        episodes = encoded(self.recorded, part, self.autoencoder, self.cache, self._device())
        if not self.salience:
            return episodes
        autoencoder = Autoencoder.from_pretrained(self.autoencoder)
        name = cache_name(self.recorded, part, autoencoder)
        cell = autoencoder.config.downsample
        return replace(episodes, unusual=unusual_places(self.recorded, part, cell, self.cache, name))

    def _device(self) -> str:
        wanted = self.run.accelerator in ("auto", "gpu", "cuda")
        return "cuda" if wanted and torch.cuda.is_available() else "cpu"


def near(episodes: EncodedEpisodes, device: torch.device) -> EncodedEpisodes:
    """Latents on the GPU where they leave it enough memory, so that clips are cut there; elsewhere as they are."""
    if device.type != "cuda":
        return episodes
    large = {"latents": episodes.latents, "unusual": episodes.unusual, "histories": episodes.histories}
    tensors = {name: tensor for name, tensor in large.items() if tensor is not None}
    free, _ = torch.cuda.mem_get_info(device)
    if sum(tensor.nbytes for tensor in tensors.values()) > MOST_OF_GPU * free:
        return episodes
    return replace(episodes, **{name: tensor.to(device) for name, tensor in tensors.items()})
