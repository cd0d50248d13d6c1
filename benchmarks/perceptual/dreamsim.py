"""DreamSim: similarity of images as people judge it (Fu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.perceptual.weights import FILES, read_script

INPUT = 224

Embedding = Callable[[Tensor], Tensor]
"""Images [n 3 224 224] in [0, 1] to embeddings [n d]."""


class DreamSim:
    """One minus the cosine between the embeddings of two images, which are first resized as DreamSim wants it."""

    def __init__(self, embed: Embedding, device: torch.device | str = "cpu") -> None:
        self.embed, self.device = embed, device

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Images [n 3 h w] in [0, 1] twice -> [n]."""
        embedded = [self.embed(_prepare(images).to(self.device)) for images in (first, second)]
        return 1.0 - F.cosine_similarity(embedded[0], embedded[1], dim=-1)


def load_dreamsim(folder: Path, device: torch.device | str = "cpu") -> DreamSim:
    """DreamSim from `folder`, or by the package `dreamsim`, which keeps its weights in a folder below.

    Raises:
        ValueError: the file is damaged or no TorchScript, or the package could not fetch its weights.
    """
    path = folder / FILES["dreamsim"].name
    if path.is_file():
        return DreamSim(read_script(path, device), device)
    import dreamsim

    try:
        model: Any = dreamsim.dreamsim(pretrained=True, device=str(device), cache_dir=str(folder / "dreamsim"))[0]
    except OSError as error:
        raise ValueError(
            f"dreamsim: the package could not fetch its weights into {folder / 'dreamsim'} ({error}); run it once "
            "where there is a network, or leave dreamsim out of metrics"
        ) from error
    return DreamSim(model.eval().embed, device)


def _prepare(images: Tensor) -> Tensor:
    """To 224x224, bicubic and antialiased, on 8-bit images as the published preprocessing."""
    pixels = (images.movedim(1, -1) * 255).round().byte().cpu().numpy()
    resized = [np.asarray(Image.fromarray(p).resize((INPUT, INPUT), Image.Resampling.BICUBIC)) for p in pixels]
    return torch.from_numpy(np.stack(resized)).movedim(-1, 1).float() / 255
