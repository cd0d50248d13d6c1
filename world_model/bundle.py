"""A world model on disk: a folder with `config.yaml`, `model.safetensors`, `episodes.npz` and `card.md`, and with
`action_prior.safetensors` where the model has such a prior."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from world_model.model import WorldModel, WorldModelConfig
from world_model.schema import build
from world_model.types import ActionSpec

CONFIG, WEIGHTS, EPISODES, CARD = "config.yaml", "model.safetensors", "episodes.npz", "card.md"
EXACT = ("autoencoder.latent_mean", "autoencoder.latent_std")  # always stored in float32: they scale every latent
PRIOR, PRIOR_PART = "action_prior.safetensors", "action_prior."  # in a file of its own: only planners want it
EXACT_PARTS = ("reward_head.", "state_probe.", PRIOR_PART)  # and so are these wholly, which never run in another type


def save(
    model: WorldModel,
    folder: Path,
    episodes: Mapping[str, np.ndarray] | None = None,
    card: str | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a bundle; every file appears whole or not at all.

    Args:
        episodes: reset clips, ``frames`` uint8 ``[n t h w 3]`` and native ``actions`` ``[n t-1 *shape]``.
        card: Markdown about data, training and measured quality.
        dtype: type of the stored weights; half precision keeps 11 significant bits in half the space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors, prior = dict[str, Tensor](), dict[str, Tensor]()
    for key, value in model.state_dict().items():
        of_prior = key.startswith(PRIOR_PART)  # what it gives is searched on from, so half precision will do
        rounded = value.to(dtype) if value.is_floating_point() and (of_prior or not is_exact(key)) else value
        (prior if of_prior else tensors)[key] = rounded.contiguous()
    with Replacing(folder / CONFIG) as path:
        path.write_text(yaml.safe_dump(_to_plain(model.config), sort_keys=False))
    if episodes is not None:
        with Replacing(folder / EPISODES) as path, path.open("wb") as file:
            np.savez_compressed(file, **episodes)  # type: ignore[arg-type]
    if card is not None:
        with Replacing(folder / CARD) as path:
            path.write_text(card)
    metadata = {"format": "vid2world-gym", "model": model.config.name}
    if prior:
        with Replacing(folder / PRIOR) as path:
            save_file(prior, path, metadata=metadata)
    else:
        (folder / PRIOR).unlink(missing_ok=True)  # of a model that was here before
    with Replacing(folder / WEIGHTS) as path:
        save_file(tensors, path, metadata=metadata)
    return folder


def is_exact(name: str) -> bool:
    """Whether a tensor is always float32 in memory, and on disk (but for the action prior's)."""
    return name in EXACT or name.startswith(EXACT_PARTS)


def locate(path_or_hub_id: str | Path) -> Path:
    """The folder of a bundle; a name ``owner/name`` that is no folder is downloaded from the hub (cached)."""
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{folder} is not a world model: {' and '.join(missing)} missing; train one with `v2w train`"
            )
        return folder
    name = str(path_or_hub_id)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ValueError(
            f"no world model at {name!r}: expected a folder with {CONFIG} and {WEIGHTS}, or a hub id owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, PRIOR, EPISODES, CARD]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"no folder {name!r}, and the hub did not give a model of that name ({type(error).__name__}); check the "
            "spelling, the connection and, for private models, `hf auth login`"
        ) from error


def load_config(folder: Path) -> WorldModelConfig:
    """Read ``config.yaml``; unknown or missing keys are errors."""
    path = folder / CONFIG
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error}); restore the file") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: expected the settings of a world model, got {values!r}; restore the file")
    try:
        return build(WorldModelConfig, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_episodes(folder: Path, actions: ActionSpec) -> dict[str, np.ndarray] | None:
    """The reset clips of a bundle, or ``None`` where it has none."""
    path = folder / EPISODES
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            clips = {key: archive[key] for key in ("frames", "actions")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: not readable as reset clips ({error}); restore the file") from error
    frames, acts = clips["frames"], clips["actions"]
    if frames.ndim != 5 or frames.dtype != np.uint8 or acts.shape != (len(frames), frames.shape[1] - 1, *actions.shape):
        raise ValueError(
            f"{path}: expected uint8 frames [n t h w 3] and actions [n t-1 *{actions.shape}], "
            f"got {frames.shape} and {acts.shape}"
        )
    return clips


class Replacing:
    """A temporary name to write to, renamed onto ``path`` on success and removed on failure."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.temporary.chmod(0o644)  # safetensors writes files that only their owner can read
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_to_plain(item) for item in value]
    return value
