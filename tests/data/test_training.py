"""A world model learns from every format: small files of each, a few steps, a bundle in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.writers import WRITERS
from tests.trainer.conftest import autoencoder_config, world_config
from tests.trainer.test_autoencoder_training import curve
from world_model.data import DatasetConfig, open_dataset
from world_model.model import WorldModel
from world_model.trainer import train_autoencoder, train_world_model
from world_model.trainer.frames import read_frames


def test_frames_of_several_sizes_are_refused_or_letterboxed(tmp_path: Path) -> None:
    folder = WRITERS["rt1"](tmp_path / "rt1", [3, 3, 3])
    np.savez(folder / "train_eps_00000001.npz", image=np.zeros((3, 8, 8, 3), np.uint8), action=np.zeros((3, 13)))
    (folder / "split.json").write_text('{"train": [0, 1], "validation": [2], "test": []}')
    with pytest.raises(ValueError, match=r"rt1: expected frames of one size, got .*open it at one"):
        read_frames(open_dataset(folder), "train")
    assert read_frames(open_dataset(folder, frame_size=(8, 8)), "train").frames.shape == (6, 8, 8, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_bundle_from_every_format(name: str, tmp_path: Path) -> None:
    files = DatasetConfig(str(WRITERS[name](tmp_path / name, [8, 9, 8, 8])), frame_size=(16, 32))
    settings = autoencoder_config(tmp_path, tmp_path / "autoencoder", max_steps=2, validate_every=2)
    autoencoder = train_autoencoder(replace(settings, dataset=files))
    config = world_config(tmp_path, autoencoder, tmp_path / "world", max_steps=3, validate_every=3)
    bundle = train_world_model(replace(config, dataset=files))
    losses = list(curve(tmp_path / "world").values())
    assert len(losses) == 3 and np.isfinite(losses).all()
    loaded, recorded = WorldModel.from_pretrained(bundle), open_dataset(files)
    assert loaded.config.actions == recorded.action_spec and loaded.config.frame_size == (16, 32)
    with np.load(bundle / "episodes.npz") as starts:
        assert starts["frames"].shape == (3, 4, 16, 32, 3)
        assert starts["actions"].shape == (3, 3, *recorded.action_spec.shape)
        assert starts["actions"].dtype == recorded.action_spec.dtype
