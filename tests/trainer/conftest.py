"""A toy dataset on disk and configurations small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from tests.conftest import tiny_network
from world_model.conditioning import Autoencoder, AutoencoderConfig
from world_model.diffusion.loss import LossConfig
from world_model.trainer import (
    AutoencoderTrainConfig,
    CropConfig,
    OptimizerConfig,
    RunConfig,
    SampleConfig,
    WorldTrainConfig,
)

SIZE = 16
TINY_AUTOENCODER = AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4)


def moving_square(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a square that jumps to where the action says, on white."""
    actions = rng.uniform(0, 512, (steps, 2)).astype(np.float32)
    frames = np.full((steps + 1, SIZE, SIZE, 3), 255, np.uint8)
    for frame, (x, y) in zip(frames, np.concatenate([[[256.0, 256.0]], actions]), strict=True):
        row, column = int(y / 512 * (SIZE - 4)), int(x / 512 * (SIZE - 4))
        frame[row : row + 4, column : column + 4] = (30, 60, 200)
    return frames, actions


def _places(actions: np.ndarray) -> dict[str, np.ndarray]:
    """Where the square is in each frame, and in which direction from the middle."""
    place = np.concatenate([[[256.0, 256.0]], actions])
    return {"place": place, "direction": np.arctan2(*(place - 255).T), "name": np.array([b"toy"] * len(place))}


def write_dataset(folder: Path, lengths: list[int]) -> Path:
    folder.mkdir(parents=True)
    image = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    storage = MinariStorage.new(folder / "data", image, gym.spaces.Box(0, 512, (2,), np.float32), jpeg_encoding=False)
    storage.update_metadata(
        {"dataset_id": "toy-v0", "minari_version": minari.__version__, "v2w": {"env_id": "Toy-v0", "fps": 10.0}}
    )
    rng = np.random.default_rng(0)
    for steps in lengths:
        frames, actions = moving_square(rng, steps)
        ends = np.arange(steps) == steps - 1
        episode = EpisodeBuffer(
            observations=frames,
            actions=actions,
            rewards=np.zeros(steps, np.float32),
            terminations=np.zeros(steps, np.bool_),
            truncations=ends,
            infos=_places(actions),
        )
        storage.update_episodes([episode])
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "toy", [20] * 8)


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return Autoencoder(TINY_AUTOENCODER).save_pretrained(tmp_path_factory.mktemp("autoencoder"))


def run_config(folder: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = dict(
        folder=str(folder), max_steps=8, batch_size=4, validate_every=4, validation_batches=1, checkpoint_every=3,
        log_every=1, accelerator="cpu", precision="32-true", progress_bar=False,
    )  # fmt: skip
    return RunConfig(**{**values, **changes})


def autoencoder_config(dataset: Path, folder: Path, crop: int = 8, **run: Any) -> AutoencoderTrainConfig:
    return AutoencoderTrainConfig(
        dataset=str(dataset),
        run=run_config(folder, **run),
        model=TINY_AUTOENCODER,
        crops=CropConfig(size=crop, share=0.5),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=2),
    )


def world_config(dataset: Path, autoencoder: Path, folder: Path, **run: Any) -> WorldTrainConfig:
    return WorldTrainConfig(
        name="toy",
        dataset=str(dataset),
        autoencoder=str(autoencoder),
        run=run_config(folder, **run),
        network=tiny_network(),
        loss=LossConfig(objective="teacher_forcing"),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2, schedule="constant"),
        samples=SampleConfig(every=0),
        reset_clips=3,
    )
