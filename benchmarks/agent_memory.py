"""Whether training an agent in imagination leaves memory flat.

    python -m benchmarks.agent_memory [steps=100000 num_envs=32 ...]

PPO learns in a tiny world model of random weights, with everything a training does but evaluations: checkpoints, logs,
episodes that end and begin. The process's resident memory is read every so many steps. Its first fifth is left out:
buffers fill, and allocators settle.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.algorithms import AgentConfig, PPOConfig
from agents.judge import EvaluationConfig
from agents.train import TrainConfig, train
from benchmarks import report
from benchmarks.command_line import run
from benchmarks.report import Table, Target, number
from v2w_env.resets import EpisodeSource
from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.config import WorldModelConfig
from world_model.model import WorldModel
from world_model.network.unet import UNetConfig
from world_model.types import ActionSpec

SIZE = 16
TARGETS = (Target("growth_mb", "at_most", 10.0, "growth of resident memory from the second fifth to the last, MB"),)


@dataclass(frozen=True)
class AgentMemoryConfig:
    """Settings of the memory benchmark; `samples` readings are spread over `steps` imagined steps."""

    steps: int = 100_000
    num_envs: int = 32
    horizon: int = 50
    samples: int = 50
    seed: int = 0
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: AgentMemoryConfig) -> dict[str, Any]:
    """Train, watch and write the report. Returns the measures.

    Raises:
        ValueError: fewer than 10 samples, or more of them than steps of the batch.
    """
    given = config
    if config.quick:
        config = replace(config, steps=min(config.steps, 10_000), results=report.QUICK_FOLDER)
    if not 10 <= config.samples <= config.steps // config.num_envs:
        most = config.steps // config.num_envs
        raise ValueError(f"samples: expected at least 10 and at most {most} (steps / num_envs), got {config.samples}")
    watch = Watch(config.steps // config.num_envs // config.samples)
    with tempfile.TemporaryDirectory() as folder:
        train(_training(config, watch, Path(folder) / "run"))
    measures = summary(watch.megabytes, config.steps)
    middle = [watch.megabytes[len(watch.megabytes) * tenth // 10] for tenth in range(10)]
    rows = [[f"{tenth * 10} %", number(value)] for tenth, value in enumerate(middle)]
    tables = [report.target_table(measures, TARGETS), Table("Resident memory", ["of the steps", "MB"], rows)]
    report.write("agent_memory", given, measures, tables, folder=config.results)
    return measures


def summary(megabytes: list[float], steps: int) -> dict[str, Any]:
    """Medians of the second and the last fifth of the readings, and by how much they differ."""
    fifth = len(megabytes) // 5
    early, late = float(np.median(megabytes[fifth : 2 * fifth])), float(np.median(megabytes[-fifth:]))
    return {"steps": steps, "early_mb": early, "late_mb": late, "growth_mb": late - early, "peak_mb": max(megabytes)}


class Watch:
    """A reward that reads the process's memory now and then: it is called once per step of the batch."""

    def __init__(self, every: int, read: Callable[[], float] | None = None) -> None:
        self._every, self._read, self._calls = every, read or resident_megabytes, 0
        self.megabytes: list[float] = []

    def __call__(self, frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
        self._calls += 1
        if self._calls % self._every == 0:
            self.megabytes.append(self._read())
        # Episodes end at many different times, whatever the frames show.
        return frames.mean(axis=(1, 2, 3)) / 255, frames.sum(axis=(1, 2, 3)) % 40 == 0


def resident_megabytes() -> float:
    """Memory that the process holds now; its peak where the system does not tell (anything but Linux)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _training(config: AgentMemoryConfig, watch: Watch, folder: Path) -> TrainConfig:
    rng = np.random.default_rng(config.seed)
    clips = rng.integers(0, 256, (8, 6, SIZE, SIZE, 3), np.uint8), rng.integers(0, 3, (8, 5))
    return TrainConfig(
        env_id="Vid2World-v0",
        env_kwargs={"checkpoint": _world(config.seed), "reset_source": EpisodeSource(*clips, 4), "reward": watch},
        folder=folder,
        agent=AgentConfig(
            PPOConfig(n_steps=32, batch_size=8 * config.num_envs, n_epochs=1),
            config.num_envs,
            frame_stack=2,
            features="small",
            features_dim=32,
        ),
        steps=config.steps,
        horizon=config.horizon,
        seed=config.seed,
        evaluation=EvaluationConfig(every=0),
        log_every=2_000,
        checkpoint_every=10_000,
        progress=sys.stderr.isatty(),
    )


def _world(seed: int) -> WorldModel:
    """Random weights, and every kind of memory that a world model has."""
    torch.manual_seed(seed)
    network = UNetConfig(
        in_channels=4,
        out_channels=4,
        model_channels=8,
        channel_mult=(1,),
        num_res_blocks=1,
        attention_downsampling=(1,),
        init_attention=False,
        head_channels=4,
        context_dim=None,
        temporal_conv_depth=1,
        norm_groups=4,
        window=8,
        temporal_norm="frame",
        fps_condition=False,
        stem_frames=3,
    )
    config = WorldModelConfig(
        name="random",
        actions=ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64"),
        frame_size=(SIZE, SIZE),
        dtype="float32",
        network=network,
        autoencoder=AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4),
    )
    return WorldModel(config).eval().requires_grad_(False)


if __name__ == "__main__":
    run("agent_memory", AgentMemoryConfig, main)
