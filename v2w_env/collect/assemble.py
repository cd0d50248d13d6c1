"""Finished episodes into one Minari dataset, swapped in whole."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from v2w_env.collect.recording import load_recording

try:
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage
except ImportError as error:
    raise ImportError("recording a dataset needs the extra: pip install 'vid2world-gym[sim]'") from error

DATA, PARTIAL, OLD = "data", "data.partial", "data.old"


def recorded_episodes(out: Path) -> int:
    """Episodes in the assembled dataset of folder `out`; 0 if there is none yet."""
    if not (out / DATA).exists():
        return 0
    return int(MinariStorage.read_raw_metadata(out / DATA)["total_episodes"])


def recover(out: Path, episodes: Path) -> None:
    """Undo what a kill can leave: half-written episodes, and a dataset between its old and its new state."""
    episodes.mkdir(parents=True, exist_ok=True)
    for half_written in episodes.glob("*.tmp"):
        half_written.unlink(missing_ok=True)
    if not (out / DATA).exists() and (out / OLD).exists():
        (out / OLD).rename(out / DATA)
    shutil.rmtree(out / OLD, ignore_errors=True)
    shutil.rmtree(out / PARTIAL, ignore_errors=True)


def assemble(out: Path, episodes: Sequence[Path], env: gym.Env, facts: dict[str, Any]) -> None:
    """Append `episodes` (files of `save_recording`, in order) to the dataset `out/data`, making it if need be.

    The work is done on a copy that replaces the dataset at the end, so a kill or a full disk never leaves half of it.
    Frames are stored losslessly: Minari's default JPEG encoding is off by up to 100 grey levels at sharp edges.
    `MinariStorage` is used rather than `create_dataset_from_buffers`, which writes only below MINARI_DATASETS_PATH
    and wants every episode in memory at once.
    """
    out = out.resolve()  # Minari's size bookkeeping trips over relative paths
    partial = out / PARTIAL
    try:
        if (out / DATA).exists():
            shutil.copytree(out / DATA, partial)
            storage = MinariStorage.read(partial)
        else:
            storage = _new_storage(partial, out.name, episodes[0], env, facts)
        storage.update_episodes(_buffers(episodes))
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if (out / DATA).exists():
        (out / DATA).rename(out / OLD)
    partial.rename(out / DATA)
    shutil.rmtree(out / OLD, ignore_errors=True)


def _new_storage(path: Path, name: str, first: Path, env: gym.Env, facts: dict[str, Any]) -> MinariStorage:
    frame_shape = load_recording(first).frames.shape[1:]
    storage = MinariStorage.new(
        path,
        observation_space=gym.spaces.Box(0, 255, frame_shape, np.uint8),
        action_space=env.action_space,
        env_spec=_storable_spec(env),
        jpeg_encoding=False,
    )
    storage.update_metadata(
        {
            "dataset_id": dataset_id(name),
            "minari_version": importlib.metadata.version("minari"),
            "algorithm_name": str(facts["policy"]),
            "description": f"Frames of {facts['env_id']} recorded by v2w collect.",
            "v2w": facts | {"frame_size": list(frame_shape[:2])},
        }
    )
    return storage


def _storable_spec(env: gym.Env) -> EnvSpec | None:
    """The spec of `env`, or None if it holds functions or classes, which JSON cannot keep."""
    try:
        if env.spec is not None:
            env.spec.to_json()
    except (TypeError, ValueError):
        return None
    return env.spec


def dataset_id(name: str) -> str:
    """A Minari id for a folder called `name`: the name itself if it ends in -v0, -v1, ..., else with -v0 appended."""
    name = re.sub(r"[^-\w]", "_", name)
    return name if re.search(r"-v\d+$", name) else f"{name}-v0"


def _buffers(episodes: Sequence[Path]) -> Iterator[EpisodeBuffer]:
    for path in episodes:
        recording = load_recording(path)
        yield EpisodeBuffer(
            seed=recording.seed,
            observations=recording.frames,
            actions=recording.actions,
            rewards=recording.rewards,
            terminations=recording.terminations,
            truncations=recording.truncations,
            infos=recording.infos or None,
        )
