"""How unusual each place of a recorded frame is, for losses that look at small things that decide.

A far missile is two pixels of 4,096 and little beside what else varies in a latent, but its colour is one that its
place in the frame hardly ever has. So this is measured on pixels, not on latents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from world_model.data import RecordedDataset
from world_model.progress import progress_bar
from world_model.trainer.frames import to_float

MOST_UNUSUAL = 64.0  # squared deviations, beyond which all is alike
LEAST_SPREAD = 0.05  # of pixels in [-1, 1]: what flickers less than this is still


def unusual_places(recorded: RecordedDataset, part: str, cell: int, cache: str | Path, name: str) -> Tensor:
    """Squared distance of every cell of every frame from the usual there, in deviations.

    The usual is the mean of a pixel over all frames of the part, its deviation at least `LEAST_SPREAD`; a cell is as
    unusual as its most unusual pixel.

    Args:
        cell: side of a cell in pixels, those of one latent.
        cache: folder where the maps are kept.
        name: of the file there, the same only for the same frames.

    Returns:
        float16 `[n h/cell w/cell]`, from 0 to `MOST_UNUSUAL`, the frames of all episodes one after the other.

    Raises:
        ValueError: if the kept maps cannot be read.
    """
    path = Path(cache) / f"{name}-unusual.safetensors"
    if path.exists():
        try:
            return load_file(path)["unusual"]
        except SafetensorError as error:
            raise ValueError(f"{path}: not readable ({error}); delete it, it will be written again") from error
    mean, spread = _usual(_frames(recorded, part, "what is usual in"))
    maps = [deviation(frames, mean, spread, cell).half() for frames in _frames(recorded, part, "what is unusual in")]
    together = torch.cat(maps)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({"unusual": together}, temporary)
    os.replace(temporary, path)
    return together


def deviation(frames: Tensor, mean: Tensor, spread: Tensor, cell: int) -> Tensor:
    """Of frames `[n 3 h w]` from `mean` in units of `spread`, both `[3 h w]`: `[n h/cell w/cell]`."""
    square = ((frames - mean) / spread.clamp_min(LEAST_SPREAD)).square().mean(1, keepdim=True)
    return F.max_pool2d(square, cell)[:, 0].clamp_max(MOST_UNUSUAL)


def _frames(recorded: RecordedDataset, part: str, purpose: str) -> Iterator[Tensor]:
    """Frames `[n 3 h w]` in [-1, 1], episode by episode."""
    ids = recorded.ids(part)
    for episode in progress_bar(recorded.iterate(ids), f"{purpose} the {part} split", "episode", len(ids)):
        yield to_float(torch.from_numpy(episode.frames))


def _usual(frames: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every pixel, `[3 h w]`."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in frames:
        part = part.double()
        count, total, squares = count + len(part), total + part.sum(0), squares + part.square().sum(0)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float()
