"""Seven real robot episodes, from film to a world model whose loss falls.

They are not part of the repository; `V2W_DATA_DIR` says where they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_network
from tests.trainer.conftest import run_config
from tests.trainer.test_autoencoder_training import curve
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import TINY, write_synthetic
from world_model.conditioning import AutoencoderConfig
from world_model.data import DatasetConfig, open_dataset
from world_model.diffusion.loss import LossConfig
from world_model.model import WorldModel
from world_model.trainer import (
    AutoencoderTrainConfig,
    CropConfig,
    OptimizerConfig,
    PublishedTrainConfig,
    SampleConfig,
    WorldTrainConfig,
    train_autoencoder,
    train_published,
    train_world_model,
)


@pytest.fixture(scope="module")
def bridge(real_data: Path) -> Path:
    return real_data / "bridge"


def test_the_films_and_their_actions(bridge: Path) -> None:
    dataset = open_dataset(bridge)
    assert (dataset.format, dataset.fps, dataset.frame_size) == ("recordings", 20.0, (256, 256))
    assert dataset.ids() == [0, 1, 3, 4, 5, 6, 7]
    assert [dataset.num_frames(index) for index in dataset.ids()] == [40, 41, 32, 23, 31, 41, 27]
    assert {part: len(ids) for part, ids in dataset.split.items()} == {"train": 5, "validation": 1, "test": 1}
    episode = dataset.read(4, 5, 12)
    with np.load(bridge / "000000004.npz") as actions:
        assert np.array_equal(episode.actions, actions["arr_0"][5:11])
        assert (actions["arr_0"] >= dataset.action_spec.low).all() and (
            actions["arr_0"] <= dataset.action_spec.high
        ).all()
    assert 50 < episode.frames.mean() < 200 and np.abs(np.diff(episode.frames.astype(int), axis=0)).mean() > 0.5


@pytest.mark.slow
def test_training_on_them(bridge: Path, tmp_path: Path) -> None:
    films = DatasetConfig(str(bridge), frame_size=(64, 64))
    autoencoder = train_autoencoder(
        AutoencoderTrainConfig(
            dataset=films,
            run=run_config(tmp_path / "autoencoder", max_steps=60, batch_size=8, validate_every=30),
            model=AutoencoderConfig(block_out_channels=(16, 16), norm_num_groups=4, patch_size=4),
            crops=CropConfig(size=32, share=0.5),
            optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=5),
        )
    )
    fidelity = curve(tmp_path / "autoencoder", "validation/psnr")
    assert fidelity[59] > fidelity[29] > 10

    config = WorldTrainConfig(
        name="bridge",
        dataset=films,
        autoencoder=str(autoencoder),
        run=run_config(tmp_path / "world", max_steps=40, validate_every=20),
        network=tiny_network(attention_downsampling=(), model_channels=16),
        loss=LossConfig(objective="teacher_forcing"),
        optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=3, schedule="constant"),
        samples=SampleConfig(every=0),
    )
    world = WorldModel.from_pretrained(train_world_model(config))
    assert world.config.frame_size == (64, 64) and world.config.actions.shape == (10,)
    losses = list(curve(tmp_path / "world").values())
    assert len(losses) == 40 and np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    validation = curve(tmp_path / "world", "validation/loss")
    assert validation[39] < validation[19]


@pytest.mark.slow
def test_training_on_them_in_the_published_layout(bridge: Path, tmp_path: Path) -> None:
    start = write_synthetic(tmp_path / "start.safetensors", published_shapes(TINY["dynamicrafter"]), "safetensors")
    config = PublishedTrainConfig(
        name="bridge",
        dataset=DatasetConfig(str(bridge), frame_size=(32, 32)),
        init_from=str(start),
        run=run_config(tmp_path / "world", max_steps=30, validate_every=15),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=2, schedule="constant"),
        samples=SampleConfig(every=0),
        window=4,
        gradient_checkpointing=False,
    )
    train_published(config)
    losses = list(curve(tmp_path / "world").values())
    assert len(losses) == 30 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    validation = curve(tmp_path / "world", "validation/loss")
    assert validation[29] < validation[14]
