"""Which weights an environment runs on; environments made from one checkpoint share them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gymnasium as gym
import torch

from v2w_env.config import EnvConfig
from v2w_env.datasets import DATASETS
from v2w_env.registration import BUNDLES
from world_model import bundle
from world_model.model import WorldModel
from world_model.precision import inference_dtype

# The last environment to close frees them.
_loaded: WeakValueDictionary[tuple[Any, ...], WorldModel] = WeakValueDictionary()


def load_model(config: EnvConfig) -> WorldModel:
    """The world model that ``config`` asks for, loaded or shared.

    Raises:
        gymnasium.error.MissingArgument: No checkpoint was named, or the dataset's published one is not here.
        FileNotFoundError: The registered id's weights are not part of this installation.
        ValueError: It cannot be read, or a setting does not fit it; the message names it.
    """
    if isinstance(config.checkpoint, WorldModel):
        if (config.device, config.dtype, config.temporal_norm) != (None, None, None):
            raise ValueError(
                "device, dtype, temporal_norm: a loaded WorldModel keeps its own; use model.to(...) and "
                "model.set_temporal_norm(...) instead"
            )
        return config.checkpoint.eval()
    path, device = _find(config), _choose_device(config.device)
    is_bundle = (path / bundle.WEIGHTS).is_file() and (path / bundle.CONFIG).is_file()
    wanted = bundle.load_config(path).dtype if is_bundle else "bfloat16"
    dtype = getattr(torch, config.dtype) if config.dtype else inference_dtype(wanted, device)
    version = (path / bundle.WEIGHTS if is_bundle else path).stat().st_mtime_ns
    key = (path, version, device, dtype, config.compile, config.temporal_norm, config.dataset)
    model = _loaded.get(key)
    if model is None:
        model = _load(path, is_bundle, config, device, dtype)
        if config.temporal_norm is not None:
            model.set_temporal_norm(config.temporal_norm)
        if config.compile:
            model.network.compile()
        _loaded[key] = model
    return model


def _load(path: Path, is_bundle: bool, config: EnvConfig, device: torch.device, dtype: torch.dtype) -> WorldModel:
    if is_bundle:
        model = WorldModel.from_pretrained(path, device=device, dtype=dtype)
    else:
        from world_model.checkpoints.download import CATALOG
        from world_model.checkpoints.load import load
        from world_model.checkpoints.plan import PublishedOptions

        known = DATASETS.get(config.dataset or "")
        layout = CATALOG[(config.dataset or "").upper()].layout if known else None
        options = PublishedOptions(known.actions if known else None, layout=layout)
        model = load(path, options, dtype=dtype, device=device)
    if config.dataset is not None and model.config.actions.size != DATASETS[config.dataset].actions.size:
        raise ValueError(
            f"checkpoint {path}: takes actions of {model.config.actions.size} numbers, but those of dataset="
            f"{config.dataset!r} have {DATASETS[config.dataset].actions.size}; name the right one, or leave dataset out"
        )
    return model


def _find(config: EnvConfig) -> Path:
    """The bundle's folder, or the published checkpoint's file or folder."""
    from world_model.checkpoints.download import download, published_name

    if config.checkpoint is None and config.dataset is not None:
        name = config.dataset.upper()
        try:
            return download(name, offline=True).resolve()
        except ValueError as error:
            raise gym.error.MissingArgument(
                f"Vid2World-{name}-v0 needs the published weights, which are not here. Get them with "
                f"`v2w download {name}` (5 GB), or pass checkpoint='path/to/the/file'. Vid2World-PushT-v0 comes with "
                "its weights and works at once"
            ) from error
    if config.checkpoint is None:
        raise gym.error.MissingArgument(
            "checkpoint: name a world model folder or hub id, gym.make(id, checkpoint='path/to/folder')"
        )
    assert isinstance(config.checkpoint, (str, Path))
    path = Path(config.checkpoint).expanduser()
    if path.parent == BUNDLES and not path.is_dir():
        raise FileNotFoundError(
            f"the world model {path.name!r} is not in this installation, which has no folder {path} with its weights; "
            "checkpoint=FOLDER takes a model that you trained yourself with `v2w train`"
        )
    if path.is_file() or (path.is_dir() and not (path / bundle.CONFIG).is_file() and _has_checkpoint(path)):
        return path.resolve()
    if not path.exists() and published_name(config.checkpoint):
        return download(str(config.checkpoint)).resolve()
    return bundle.locate(config.checkpoint).resolve()


def _has_checkpoint(folder: Path) -> bool:
    return any(folder.glob(f"*{ending}") for ending in (".ckpt", ".safetensors", ".pt", ".pth", ".bin"))


def _choose_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {name!r}, but this PyTorch sees no CUDA device; use device='cpu'")
    return device
