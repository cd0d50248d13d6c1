"""The ids that ``gym.make`` and ``gym.make_vec`` know after ``import v2w_env``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from v2w_env.config import EnvConfig, check_names

BUNDLES = Path(__file__).parent / "bundles"


def register_world_model(
    id: str,
    checkpoint: str | Path | None,
    max_episode_steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Give a world model a Gymnasium id.

    Args:
        id: For example ``"MyWorld-v0"``.
        checkpoint: Folder or hub id of the world model; ``None`` leaves it to the caller of ``gym.make``.
        max_episode_steps: Steps after which episodes are truncated.
        settings: Defaults for other fields of :class:`EnvConfig`.

    Raises:
        ValueError: An unknown setting; the message names the nearest.
    """
    settings = dict(settings or {})
    check_names("setting", settings, list(EnvConfig.__dataclass_fields__))
    if checkpoint is not None:
        settings["checkpoint"] = str(checkpoint)
    gym.register(
        id=id,
        entry_point="v2w_env.entry_points:make_env",
        vector_entry_point="v2w_env.entry_points:make_vector_env",
        max_episode_steps=max_episode_steps,
        kwargs=settings,
    )


def register_shipped() -> None:
    """Register the models that come with the package, those published by the paper's authors (their weights have to be
    downloaded), and ``Vid2World-v0`` for any other: it needs ``checkpoint=``."""
    register_world_model("Vid2World-PushT-v0", BUNDLES / "pusht", max_episode_steps=300)
    register_world_model("Vid2World-PushTBlocks-v0", BUNDLES / "pusht_blocks", max_episode_steps=60)
    register_world_model("Vid2World-DoomTakeCover-v0", BUNDLES / "doom_take_cover", max_episode_steps=525)
    register_world_model("Vid2World-v0", None)
    for dataset in ("rt1", "csgo", "recon"):
        register_world_model(f"Vid2World-{dataset.upper()}-v0", None, settings={"dataset": dataset})


def register_simulators() -> None:
    """Register the real environment that needs more than its package gives; see `v2w_env.collect.take_cover`."""
    gym.register(id="DoomTakeCover-v0", entry_point="v2w_env.collect.take_cover:TakeCover", max_episode_steps=525)
