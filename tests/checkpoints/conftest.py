"""Tiny checkpoints in the published layout, one file per model and format, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.synthetic import TINY, SyntheticFormat, write_synthetic

LAYOUT = PublishedLayout(frame_size=(32, 64), window=4)
WriteTiny = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> WriteTiny:
    """``tiny_checkpoint(model, format) -> path``."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def path_of(model: str = "rt1", form: SyntheticFormat = "safetensors") -> Path:
        path = folder / f"{model}.{form}"
        return path if path.exists() else write_synthetic(path, published_shapes(TINY[model]), form)

    return path_of
