"""Checkpoints for benchmarks: a folder, or the name of a model that comes with the package."""

from __future__ import annotations

from pathlib import Path

import torch

from v2w_env.registration import BUNDLES
from world_model.model import WorldModel


def load_model(checkpoint: str, device: str = "cpu", dtype: str | None = None) -> WorldModel:
    """A model ready for inference, in `dtype` or, if that is None, in the type its bundle asks for.

    Raises:
        FileNotFoundError: neither a folder, nor a shipped model, nor a hub id.
        ValueError: the checkpoint is unusable, see `WorldModel.from_pretrained`.
    """
    model = WorldModel.from_pretrained(locate(checkpoint), device=device)
    return model.to(getattr(torch, dtype or model.config.dtype))


def locate(checkpoint: str) -> Path | str:
    """The folder of a checkpoint; a name without a folder is looked up among the shipped models."""
    if Path(checkpoint).is_dir() or "/" in checkpoint:
        return checkpoint
    if (BUNDLES / checkpoint).is_dir():
        return BUNDLES / checkpoint
    names = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    raise FileNotFoundError(f"checkpoint: expected a folder or one of the shipped models {names}, got {checkpoint!r}")
