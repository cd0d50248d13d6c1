"""One door for every way to name a world model: our folder, a published checkpoint's file, or a name on the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from world_model import bundle
from world_model.checkpoints.assemble import compare, copies, fill, shapes_of, skeleton
from world_model.checkpoints.detect import open_checkpoint
from world_model.checkpoints.download import CATALOG, download, published_name
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published import load_published
from world_model.model import WorldModel


def load(
    path_or_name: str | Path,
    options: PublishedOptions | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> WorldModel:
    """A world model, whatever it is stored as, in evaluation mode with gradients of its weights off.

    Args:
        path_or_name: a world model's folder; a Vid2World or DynamiCrafter checkpoint (file, or folder with one in it);
            one of :data:`~world_model.checkpoints.download.NAMES`, as ``RT1`` or ``thuml/Vid2World-RT1``; or any
            other hub model ``owner/name`` that holds a world model's folder.
        options: of checkpoints that are not our folders: what they do not say of themselves.
        dtype: of the weights.
        device: where they go, one tensor at a time.

    Raises:
        ValueError: saying what was found, what was expected, and what to do.
    """
    published = None if Path(path_or_name).expanduser().exists() else published_name(path_or_name)
    if published is not None:
        path: str | Path = download(published)
        options = options or PublishedOptions()
        layout, name = options.layout or CATALOG[published].layout, options.name or f"Vid2World-{published}"
        options = replace(options, layout=layout, name=name)
    else:
        path = _find(path_or_name)
    if (Path(path) / bundle.CONFIG).is_file() and (Path(path) / bundle.WEIGHTS).is_file():
        return _load_bundle(Path(path), dtype, device)
    return load_published(path, options, dtype=dtype, device=device)


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name).expanduser()
    if path.is_dir() and (path / bundle.CONFIG).is_file():
        return bundle.locate(path)  # says so if its weights are missing
    return path if path.exists() else bundle.locate(path_or_name)


def _load_bundle(folder: Path, dtype: torch.dtype, device: torch.device | str) -> WorldModel:
    """A world model's folder, in the memory of its weights."""
    model = skeleton(bundle.load_config(folder))
    checkpoint = open_checkpoint(folder)
    try:
        compare(shapes_of(model.state_dict()), shapes_of(checkpoint.tensors))
    except ValueError as error:
        raise ValueError(f"{folder / bundle.WEIGHTS} does not fit its {bundle.CONFIG}: {error}") from error
    return fill(model, copies(checkpoint.tensors, dtype, device))
