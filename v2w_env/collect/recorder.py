"""Record any Gymnasium environment into a Minari dataset: `collect(CollectConfig(...))`.

The folder that comes out:

    out/collect.json       the configuration, so that a later run knows whether it continues the same recording
    out/episodes/*.npz     finished episodes while recording; gone once the dataset is assembled
    out/data/              the Minari dataset: `minari.MinariDataset("out/data")`, or, with MINARI_DATASETS_PATH set to
                           the parent of `out`, `minari.load_dataset(NAME)` with NAME the name of the folder `out`
                           (call it like "pusht-v0", so that `minari list local` accepts it too)
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym

from v2w_env.collect.config import CollectConfig
from v2w_env.collect.policies import resolve_policy
from v2w_env.collect.simulator import make_simulator
from v2w_env.collect.workers import not_written, record
from world_model.progress import progress_bar

CONFIG_NAME = "collect.json"


def collect(config: CollectConfig) -> Path:
    """Record `config.num_episodes` episodes and assemble them; a run that was killed continues where it stopped.

    Returns:
        The folder `config.out`; read it with `world_model.data.read_minari`.

    Raises:
        ValueError: for a bad configuration, or if `out` holds a recording made with another one.
        OSError: if the disk is full; every finished episode stays, and the same command continues.
        RuntimeError: if a worker died.
        ImportError: without Minari (extra `sim`).
    """
    from v2w_env.collect.assemble import assemble, recorded_episodes, recover  # Minari is an extra

    resolve_policy(config.policy)
    out = Path(config.out)
    if config.overwrite and (out / CONFIG_NAME).exists():  # never remove a folder that is not a recording
        shutil.rmtree(out)
    _claim(out, config)
    recover(out, config.episodes_folder)
    wanted = range(recorded_episodes(out), config.num_episodes)
    pending = [index for index in wanted if not config.episode_path(index).exists()]
    done = config.num_episodes - len(pending)
    bar = progress_bar(
        record(config, pending), f"recording {config.env_id}", "episode", config.num_episodes, config.progress
    )
    bar.initial = bar.n = done
    for _ in bar:
        pass
    if len(wanted):
        env = make_simulator(config.env_id, config.env_kwargs)
        try:
            assemble(out, [config.episode_path(index) for index in wanted], env, dataset_facts(config, env))
        except OSError as error:
            raise not_written(config, error) from error
        finally:
            env.close()
    shutil.rmtree(config.episodes_folder, ignore_errors=True)
    return out


def dataset_facts(config: CollectConfig, env: gym.Env) -> dict[str, Any]:
    """What the dataset's metadata says under the key "v2w"; `fps` counts recorded frames."""
    facts = config.identity()
    if env.metadata.get("render_fps"):
        facts["render_fps"] = float(env.metadata["render_fps"])
        facts["fps"] = facts["render_fps"] / config.frame_skip
    return facts


def _claim(out: Path, config: CollectConfig) -> None:
    """Write `collect.json`, or check that what is in `out` was recorded with the same configuration."""
    path = out / CONFIG_NAME
    if path.exists():
        before, now = json.loads(path.read_text()), config.identity()
        changed = [f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if before.get(key) != now[key]]
        if changed:
            raise ValueError(
                f"out: {out} holds a recording with another configuration ({'; '.join(changed)}). Choose another "
                "folder, or set overwrite=true to record it afresh"
            )
        return
    if out.exists() and any(entry.name != "collect.tmp" for entry in out.iterdir()):
        raise ValueError(f"out: {out} is not empty and holds no {CONFIG_NAME}; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(config.identity(), indent=2))
    os.replace(temporary, path)
