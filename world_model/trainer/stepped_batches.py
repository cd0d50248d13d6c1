"""Batches as a function of the step, so that a resumed run sees the data it would have seen."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import torch
from torch.utils.data import Sampler

from world_model.trainer.settings import RunConfig


class SteppedBatches(Sampler[list[int]]):
    """Endless batches of indices: epoch after epoch of shuffled items, split among the ranks.

    Args:
        num_items: items to draw from; fewer than a batch are repeated.
        batch_size: items per batch and rank.
        seed: shuffles; the same on every rank.
        first_batch: batches of each rank to leave out, because an earlier run has seen them.
    """

    def __init__(
        self, num_items: int, batch_size: int, seed: int, first_batch: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        if num_items < 1:
            raise ValueError(f"training data: expected at least 1 item, got {num_items}; record more episodes")
        self.num_items = num_items
        self.batch_size = batch_size
        self.seed = seed
        self.first_batch = first_batch
        self.rank = rank
        self.ranks = ranks

    @classmethod
    def of(cls, trainer: L.Trainer, num_items: int, run: RunConfig) -> SteppedBatches:
        """The batches that `trainer` has not seen yet."""
        seen = trainer.global_step * run.accumulate
        return cls(num_items, run.batch_size, run.seed, seen, trainer.global_rank, trainer.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        number = self.first_batch
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        while True:
            batch = []
            start = (number * self.ranks + self.rank) * self.batch_size
            for position in range(start, start + self.batch_size):
                if position // self.num_items != epoch:
                    epoch = position // self.num_items
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order = torch.randperm(self.num_items, generator=generator)
                batch.append(int(order[position % self.num_items]))
            yield batch
            number += 1


def spread_batches(num_items: int, run: RunConfig) -> list[list[int]]:
    """As many validation batches as `run` asks for, always the same, their items spread over all there are."""
    wanted = min(run.batch_size * run.validation_batches, num_items)
    items: list[int] = torch.linspace(0, num_items - 1, wanted).long().tolist()
    return [items[i : i + run.batch_size] for i in range(0, wanted, run.batch_size)]
