"""Single frames of a recorded dataset, as the autoencoder is trained on them."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from world_model.data import DatasetConfig, RecordedDataset, open_dataset
from world_model.trainer.settings import RunConfig
from world_model.trainer.stepped_batches import SteppedBatches


class FrameDataset(Dataset[Tensor]):
    """All frames of some episodes, uint8 `[n h w 3]`, in memory; a list of indices gives a batch in one copy."""

    def __init__(self, frames: Tensor) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        return self.frames[index]

    def __getitems__(self, indices: list[int]) -> Tensor:
        return self.frames[torch.tensor(indices)]


class FrameDataModule(L.LightningDataModule):
    """Batches uint8 `[n h w 3]` of the training and of the validation split."""

    def __init__(self, dataset: str | DatasetConfig, run: RunConfig) -> None:
        super().__init__()
        self.dataset = dataset
        self.run = run
        self.train: FrameDataset | None = None
        self.validation: FrameDataset | None = None

    def setup(self, stage: str) -> None:
        if self.train is None:
            recorded = open_dataset(self.dataset)
            self.train = read_frames(recorded, "train")
            self.validation = read_frames(recorded, "validation")

    def train_dataloader(self) -> DataLoader[Tensor]:
        assert self.train is not None and self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.train), self.run)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[Tensor]:
        assert self.validation is not None
        # The split is in the order of recording: a stride spreads the few batches looked at over all of it.
        wanted = self.run.batch_size * self.run.validation_batches
        stride = max(1, len(self.validation) // wanted)
        chosen = FrameDataset(self.validation.frames[::stride])
        return DataLoader(chosen, batch_size=self.run.batch_size, collate_fn=as_it_is)


def read_frames(recorded: RecordedDataset, part: str) -> FrameDataset:
    """All frames of one part of the split.

    Raises:
        ValueError: if the part has no episodes or its frames differ in size; names the dataset.
    """
    episodes = [episode.frames for episode in recorded.iterate(recorded.ids(part))]
    if not episodes:
        raise ValueError(f"{recorded.path}: the {part} split has no episodes; record more with `v2w collect`")
    sizes = {frames.shape[1:] for frames in episodes}
    if len(sizes) > 1:
        raise ValueError(f"{recorded.path}: expected frames of one size, got {sorted(sizes)}; record or open it at one")
    return FrameDataset(torch.from_numpy(np.concatenate(episodes)))


def to_float(frames: Tensor) -> Tensor:
    """uint8 `[n h w 3]` to float `[n 3 h w]` in [-1, 1], channels last in memory."""
    return frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def as_it_is(batch: Any) -> Any:
    """The datasets of this package give whole batches; there is nothing to collate."""
    return batch
