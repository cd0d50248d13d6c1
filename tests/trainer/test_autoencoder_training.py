"""Training the autoencoder: it learns, survives a kill, and says what is wrong with its data."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import autoencoder_config, write_dataset
from world_model.conditioning import Autoencoder
from world_model.data import read_minari
from world_model.trainer import train_autoencoder
from world_model.trainer.autoencoder import psnr
from world_model.trainer.crops import crop_around_contrast
from world_model.trainer.frames import read_frames, to_float

REPOSITORY = Path(__file__).parents[2]


def curve(folder: Path, name: str = "train/loss") -> dict[int, float]:
    """A logged value by step over all starts of a run; later starts overrule."""
    values = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        with path.open() as file:
            values.update({int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)})
    return values


def test_it_learns_and_its_latents_are_normalised(dataset: Path, tmp_path: Path) -> None:
    folder = train_autoencoder(autoencoder_config(dataset, tmp_path / "run", max_steps=60, validate_every=60))
    losses = list(curve(folder).values())
    assert len(losses) == 60 and sum(losses[-5:]) < 0.5 * sum(losses[:5])
    model = Autoencoder.from_pretrained(folder)
    frames = to_float(read_frames(read_minari(dataset), "train").frames)
    with torch.inference_mode():
        latents = model.encode(frames)
        assert psnr(model.decode(latents), frames).mean() > 8
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)
    assert "validation/psnr" in next(folder.glob("logs/*/metrics.csv")).read_text()
    assert list(folder.glob("tensorboard/events*"))


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, tmp_path: Path) -> None:
    whole = train_autoencoder(autoencoder_config(dataset, tmp_path / "whole", max_steps=10))
    part = tmp_path / "part"
    _killed_after(part, dataset, steps=6)
    resumed = train_autoencoder(autoencoder_config(dataset, part, max_steps=10))
    expected, got = curve(whole), curve(resumed)
    assert set(got) == set(expected) == set(range(10))
    assert got == pytest.approx(expected, rel=1e-5)
    a, b = (Autoencoder.from_pretrained(folder).state_dict() for folder in (whole, resumed))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-5)


def test_a_finished_run_can_be_called_again(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", max_steps=3)
    first = (train_autoencoder(config) / "autoencoder.safetensors").read_bytes()
    assert (train_autoencoder(config) / "autoencoder.safetensors").read_bytes() == first
    with pytest.raises(ValueError, match=r"already holds a run .*choose another folder"):
        train_autoencoder(autoencoder_config(dataset, tmp_path / "run", resume="never"))


def test_time_limits_a_run(dataset: Path, tmp_path: Path) -> None:
    folder = train_autoencoder(autoencoder_config(dataset, tmp_path / "run", max_steps=None, max_minutes=0.01))
    assert 1 <= len(curve(folder)) < 1000 and (folder / "autoencoder.safetensors").exists()


@pytest.mark.slow
def test_kill_9_then_resume(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    script = (
        "from pathlib import Path; from tests.trainer.conftest import autoencoder_config; "
        "from world_model.trainer import train_autoencoder; "
        f"train_autoencoder(autoencoder_config(Path({str(dataset)!r}), Path({str(folder)!r}), max_steps=100000))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    checkpoint = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    train_autoencoder(autoencoder_config(dataset, folder, max_steps=steps + 4))
    got = curve(folder)
    assert set(range(steps, steps + 4)) <= set(got)


def test_crops_show_the_moving_part() -> None:
    frames = torch.ones(64, 3, 64, 64)
    frames[:, :, 2:6, 2:6] = -1  # always there
    for number, frame in enumerate(frames):
        frame[:, 10 + number % 40 : 12 + number % 40, 40:42] = 0
    crops = crop_around_contrast(frames, 16, 4, torch.Generator().manual_seed(0))
    assert crops.shape == (64, 3, 16, 16)
    assert (crops == 0).flatten(1).any(dim=1).float().mean() > 0.5  # of crops anywhere, one in ten


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint = train_autoencoder(autoencoder_config(dataset, folder, max_steps=3)) / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last.ckpt: not a readable checkpoint .*delete it"):
        train_autoencoder(autoencoder_config(dataset, folder, max_steps=6))


def test_empty_data_is_named(tmp_path: Path) -> None:
    empty = write_dataset(tmp_path / "empty", [])
    with pytest.raises(ValueError, match=r"empty.*record"):
        train_autoencoder(autoencoder_config(empty, tmp_path / "run"))


def _killed_after(folder: Path, dataset: Path, steps: int) -> None:
    """Leave a run as a kill would: no save at the end, the checkpoint some steps old."""
    from world_model.trainer import stepping

    class KilledError(Exception):
        pass

    def kill(self: stepping.SteppedModule, batch: object, batch_idx: int) -> None:
        original(self, batch, batch_idx)
        if self.global_step == steps + 1:
            raise KilledError

    original = stepping.SteppedModule.on_train_batch_start
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(stepping.SteppedModule, "on_train_batch_start", kill)
        train_autoencoder(autoencoder_config(dataset, folder, max_steps=10, checkpoint_every=4))
