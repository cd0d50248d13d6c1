"""From what a user names as ``reset_source`` to the source itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from v2w_env.config import EnvConfig
from v2w_env.frames import FrameFit
from v2w_env.resets import DatasetSource, EpisodeSource, ImageSource, ResetSource
from world_model import bundle
from world_model.model import WorldModel

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def choose_resets(config: EnvConfig, model: WorldModel, fit: FrameFit) -> ResetSource | None:
    """The source that ``config.reset_source`` names; ``None`` if it names none and the model brings no clips.

    Raises:
        ValueError: It cannot be read, or its frames or actions do not fit the model.
    """
    chosen, spec, context = config.reset_source, model.config.actions, model.config.context_frames
    if chosen is None:
        return _own_clips(config, model, context)
    if isinstance(chosen, (str, Path)):
        path = Path(chosen).expanduser()
        if path.is_dir():
            return DatasetSource.from_folder(path, context, spec)
        if path.suffix.lower() in IMAGES:
            return ImageSource(fit(_read_image(path), f"reset image {path}", ("h w 3",))[None], spec)
        source: ResetSource = EpisodeSource.from_file(path, context)
    elif isinstance(chosen, np.ndarray):
        source = ImageSource(fit(chosen, "reset images", ("n h w 3",)), spec)
    elif isinstance(chosen, ResetSource):
        source = chosen
    else:
        raise ValueError(f"reset_source: expected a ResetSource, a path or uint8 images [n h w 3], got {chosen!r}")
    if isinstance(source, EpisodeSource):
        frames = fit(source.frames, "reset clips", ("n t h w 3",))
        if source.actions.shape[2:] != spec.shape:
            raise ValueError(f"reset clips: expected actions of shape {spec.shape}, got {source.actions.shape[2:]}")
        return EpisodeSource(frames, source.actions, context, source.start)
    if isinstance(source, ImageSource):
        images = fit(source.images, "reset images", ("n h w 3",))
        return source if images is source.images else source.with_images(images)
    return source


def _own_clips(config: EnvConfig, model: WorldModel, context: int) -> ResetSource | None:
    if not isinstance(config.checkpoint, (str, Path)):
        return None
    folder = Path(config.checkpoint).expanduser()
    if not (folder / bundle.CONFIG).is_file():
        if folder.exists() or "/" not in str(config.checkpoint):
            return None  # a published checkpoint: weights and nothing else
        folder = bundle.locate(config.checkpoint)
    clips = bundle.load_episodes(folder, model.config.actions)
    return None if clips is None else EpisodeSource(clips["frames"], clips["actions"], context)


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"reset image {path}: not a readable picture ({error})") from error
