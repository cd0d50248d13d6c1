"""Checkpoints for benchmarks: a folder or file, or the name of a model that comes with the package or is published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from v2w_env.registration import BUNDLES
from world_model.bundle import CONFIG, PRIOR_PART, is_exact
from world_model.checkpoints.download import published_name
from world_model.data import RecordedDataset, open_dataset
from world_model.model import WorldModel
from world_model.precision import inference_dtype


def load_model(checkpoint: str, device: str = "cpu", dtype: str | None = None) -> WorldModel:
    """A model ready for inference, in `dtype` or, if that is None, in the type its bundle asks for, as far as `device`
    is fast in it.

    Raises:
        FileNotFoundError: neither a folder, nor a shipped model, nor a hub id.
        ValueError: the checkpoint is unusable, see `WorldModel.from_pretrained`.
    """
    found = locate(checkpoint)
    if isinstance(found, Path) and (found / CONFIG).is_file():
        model = WorldModel.from_pretrained(found, device=device)
        return model.to(getattr(torch, dtype) if dtype else inference_dtype(model.config.dtype, device))
    from world_model.checkpoints.load import load

    return load(found, dtype=getattr(torch, dtype) if dtype else inference_dtype("bfloat16", device), device=device)


def open_fitting(dataset: str, model: WorldModel, checkpoint: str) -> RecordedDataset:
    """The recorded dataset that a model is measured on.

    Raises:
        ValueError: if it has other frames or actions than the model, which `checkpoint` names.
    """
    recorded = open_dataset(dataset)
    size, actions = model.config.frame_size, model.config.actions
    if tuple(recorded.frame_size) != size or recorded.action_spec != actions:
        raise ValueError(
            f"dataset: expected what {checkpoint} learned from, frames of {size} and actions {actions}; {dataset} has "
            f"other frames or actions, {tuple(recorded.frame_size)} and {recorded.action_spec}"
        )
    return recorded


def locate(checkpoint: str) -> Path | str:
    """A checkpoint's folder or file; other names are looked up among the shipped models and the published ones."""
    if Path(checkpoint).exists():
        return Path(checkpoint)
    if "/" in checkpoint or published_name(checkpoint):
        return checkpoint
    if (BUNDLES / checkpoint).is_dir():
        return BUNDLES / checkpoint
    names = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    raise FileNotFoundError(f"checkpoint: expected a folder or one of the shipped models {names}, got {checkpoint!r}")


def digest(model: WorldModel, action_prior: bool = False) -> str:
    """Short name of a model's weights and settings, such as how it samples, for results that are kept.

    Weights count as rounded to the type that the model asks to be run in: the name is the same on machines where it
    is run in another.

    Args:
        action_prior: whether the result depends on that of the model, too.
    """
    settings, asked = asdict(model.config), getattr(torch, model.config.dtype)
    if not action_prior:
        settings.pop("action_prior")
    names = [name for name in model.state_dict() if action_prior or not name.startswith(PRIOR_PART)]
    return _digest(repr(settings), model, names, asked)


def encoder_digest(model: WorldModel) -> str:
    """Short name of what makes latents of frames, for results that depend on nothing else of a model."""
    names = [name for name in model.state_dict() if name.startswith("autoencoder.")]
    return _digest(repr(asdict(model.config.autoencoder)), model, names, getattr(torch, model.config.dtype))


def _digest(settings: str, model: WorldModel, names: Iterable[str], asked: torch.dtype) -> str:
    found, tensors = hashlib.sha256(settings.encode()), model.state_dict()
    for name in names:
        tensor = tensors[name].detach()
        found.update((tensor if is_exact(name) else tensor.to(asked)).float().cpu().numpy().tobytes())
    return found.hexdigest()[:16]
