"""Features of whole films for FVD: the I3D network of the original metric, as TorchScript."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.perceptual.resizing import resize
from benchmarks.perceptual.weights import FILES, read_script

INPUT = 224
MIN_FRAMES = 9
"""The network halves time three times and then averages over two steps; shorter films leave it nothing."""


class FilmFeatures:
    """Films [t 3 h w] in [0, 1] to features [400], before the softmax.

    Args:
        network: called as the published file is, with films [b 3 t 224 224] in [-1, 1] and three flags.
    """

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self.network, self.device = network, device

    def __call__(self, film: Tensor) -> Tensor:
        if len(film) < MIN_FRAMES:
            raise ValueError(f"fvd: expected films of at least {MIN_FRAMES} frames, got {len(film)}; leave fvd out")
        frames = resize(film.to(self.device), INPUT, INPUT) * 2 - 1
        batch = frames.movedim(0, 1)[None]
        return self.network(batch, rescale=False, resize=False, return_features=True)[0]


def load_i3d(folder: Path, device: torch.device | str = "cpu") -> FilmFeatures:
    """The network from `folder`.

    Raises:
        ValueError: the file is damaged or no TorchScript.
    """
    return FilmFeatures(read_script(folder / FILES["fvd"].name, device), device)
