"""What is unusual in recorded frames, and that trainings get to know it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import SIZE, run_config, world_config
from world_model.conditioning.autoencoder import Autoencoder
from world_model.data import read_minari
from world_model.diffusion.loss import LossConfig
from world_model.trainer import PublishedTrainConfig, train_world_model
from world_model.trainer.clips import ClipDataModule
from world_model.trainer.frames import to_float
from world_model.trainer.salience import LEAST_SPREAD, MOST_UNUSUAL, deviation, unusual_places


def test_a_cell_is_as_unusual_as_its_most_unusual_pixel() -> None:
    frames = torch.zeros(2, 3, 8, 8)
    frames[1, :, 5, 2] = 0.3
    spread = torch.full((3, 8, 8), 0.1)
    found = deviation(frames, torch.zeros(3, 8, 8), spread, 4)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [9.0, 0.0]]]))
    still = deviation(frames, torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), 4)  # small flicker of still pixels is usual
    assert float(still[1, 1, 0]) == pytest.approx((0.3 / LEAST_SPREAD) ** 2)
    assert float(deviation(100 * frames, torch.zeros(3, 8, 8), spread, 4).max()) == MOST_UNUSUAL


def test_maps_of_a_recording_are_kept(dataset: Path, tmp_path: Path) -> None:
    recorded = read_minari(dataset)
    maps = unusual_places(recorded, "train", 4, tmp_path, "train-toy")
    frames = torch.cat([torch.from_numpy(recorded.read(number).frames) for number in recorded.ids("train")])
    assert maps.shape == (len(frames), SIZE // 4, SIZE // 4)
    pixels = to_float(frames)
    expected = deviation(pixels, pixels.mean(0), pixels.std(0, correction=0), 4)
    torch.testing.assert_close(maps.float(), expected, rtol=2e-3, atol=2e-3)
    (path,) = tmp_path.iterdir()
    assert torch.equal(unusual_places(recorded, "train", 4, tmp_path, "train-toy"), maps)
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"train-toy-unusual.safetensors: not readable .* delete it"):
        unusual_places(recorded, "train", 4, tmp_path, "train-toy")


def test_clips_come_with_what_is_unusual_in_their_frames(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    recorded = read_minari(dataset)
    data = ClipDataModule(recorded, autoencoder, tmp_path, 4, "error", run_config(tmp_path / "run"), salience=True)
    data.setup("fit")
    assert data.train is not None and data.train.episodes.unusual is not None
    clip = data.train[1]  # the second window: frames 1 to 4
    torch.testing.assert_close(clip["unusual"], data.train.episodes.unusual[1:5].float())
    cell = Autoencoder.from_pretrained(autoencoder).config.downsample
    assert clip["unusual"].shape == (4, SIZE // cell, SIZE // cell) == (4, *clip["latents"].shape[2:])


def test_it_changes_the_training(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    losses = []
    for salience in (0.0, 5.0):
        config = world_config(dataset, autoencoder, tmp_path / str(salience), max_steps=2)
        bundle = train_world_model(replace(config, loss=replace(config.loss, salience=salience)))
        losses.append((bundle / "model.safetensors").read_bytes())
    assert losses[0] != losses[1]


def test_pixels_have_no_such_map(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    config = world_config(dataset, autoencoder, tmp_path / "run", max_steps=2)
    with pytest.raises(ValueError, match=r"loss\.salience: expected 0 with frames=pixels, got 1\.0"):
        replace(config, frames="pixels", loss=replace(config.loss, salience=1.0))
    with pytest.raises(ValueError, match=r"loss\.salience: expected 0, since clips are read as pixels"):
        PublishedTrainConfig(name="x", dataset=str(dataset), run=config.run, loss=LossConfig(salience=1.0))
