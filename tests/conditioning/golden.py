"""Golden numbers of the reference's conditioning parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Golden:
    """One fixture file: arrays as tensors, and the reference's weights under its own names."""

    def __init__(self, folder: Path, name: str) -> None:
        arrays = np.load(folder / f"{name}.npz")
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        self.notes: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.arrays = {key: value for key, value in tensors.items() if not key.startswith("weights.")}
        self.weights = {key.removeprefix("weights."): tensors[key] for key in tensors.keys() - self.arrays.keys()}

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]


def assert_same(ours: Tensor, golden: Tensor, tolerance: float) -> None:
    assert ours.shape == golden.shape
    assert float((ours.detach() - golden).abs().max()) <= tolerance
