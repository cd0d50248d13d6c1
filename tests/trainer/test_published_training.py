"""Training in the published layout: from DynamiCrafter's weights to a world model of any dataset."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.data.writers import WRITERS
from tests.trainer.conftest import run_config, write_dataset
from tests.trainer.test_autoencoder_training import REPOSITORY, curve
from world_model.bundle import load_episodes
from world_model.checkpoints.load import load
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import TINY, write_synthetic
from world_model.data import DatasetConfig
from world_model.model import WorldModel
from world_model.trainer import OptimizerConfig, PublishedTrainConfig, SampleConfig, train_published
from world_model.trainer.stepping import SteppedModule

LENGTHS = (6, 7, 6, 6)
SIDE = 32  # frames of 16x32 pixels between bars of 8 rows


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("published")

    def write(model: str = "dynamicrafter") -> Path:
        path = folder / f"{model}.safetensors"
        return path if path.exists() else write_synthetic(path, published_shapes(TINY[model]), "safetensors")

    return write


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    written = {name: write(folder / name, LENGTHS) for name, write in WRITERS.items()}
    return written | {"minari": write_dataset(folder / "minari", [6] * 4)}


def config(dataset: Path, init_from: Path, folder: Path, **run: Any) -> PublishedTrainConfig:
    return PublishedTrainConfig(
        name="tiny",
        dataset=DatasetConfig(str(dataset), frame_size=(SIDE, SIDE)),
        init_from=str(init_from),
        run=run_config(folder, **{"batch_size": 2, "max_steps": 2, "validate_every": 2, **run}),
        samples=SampleConfig(every=0),
        window=4,
        reset_clips=2,
        gradient_checkpointing=False,
    )


@pytest.mark.parametrize("name", [*WRITERS, "minari"])
def test_every_format_trains_to_a_bundle_that_steps(
    name: str, checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = config(folders[name], checkpoint(), tmp_path / "run", accumulate=2)
    bundle = train_published(settings)
    assert len(curve(tmp_path / "run")) == 2 and list(curve(tmp_path / "run", "validation/loss")) == [1]
    world = WorldModel.from_pretrained(bundle)
    assert world.conditioner is not None and world.config.frame_size == (SIDE, SIDE) and world.config.window == 4
    clips = load_episodes(bundle, world.config.actions)
    assert clips is not None and clips["frames"].shape == (2, 1, SIDE, SIDE, 3)
    generator = torch.Generator().manual_seed(0)
    frames = torch.from_numpy(clips["frames"]).permute(0, 1, 4, 2, 3) / 127.5 - 1
    sampling = world.with_sampling(num_sampling_steps=2)
    with torch.no_grad():
        state = world.start(frames, torch.zeros(2, 0, world.config.actions.size), generator, sampling)
        _, latent = world.step(state, torch.zeros(2, world.config.actions.size), generator, sampling)
    assert latent.shape == (2, *world.config.latent_shape) and bool(latent.isfinite().all())


def test_network_and_projector_train_and_nothing_else(
    checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = config(folders["rt1"], checkpoint("rt1"), tmp_path / "run")
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, schedule="constant")
    bundle = train_published(replace(settings, optimizer=optimizer))
    before = load(checkpoint("rt1")).state_dict()
    after = load_file(bundle / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        trained = name.startswith(("network.", "conditioner.projector."))
        assert torch.equal(tensor, before[name].to(tensor.dtype)) is not trained, name
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.partition(".")[0] for name in saved} == {"network", "projector"}


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    def run(name: str) -> PublishedTrainConfig:
        changes = {"max_steps": 4, "accumulate": 2, "batch_size": 1, "checkpoint_every": 2, "validate_every": 4}
        return config(folders["rt1"], checkpoint(), tmp_path / name, **changes)

    whole = train_published(run("whole"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterruptError):
        patch.setattr(SteppedModule, "on_train_batch_start", _killed_in_step(3))
        train_published(run("part"))
    assert not (tmp_path / "part" / "bundle").exists()
    part = train_published(run("part"))
    expected, got = curve(tmp_path / "whole"), curve(tmp_path / "part")
    assert set(expected) == set(range(4)) and got == pytest.approx(expected, rel=1e-5)
    a, b = (load_file(bundle / "model.safetensors") for bundle in (whole, part))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=1e-3, atol=1e-5)


def test_it_goes_on_from_its_own_bundle_and_dreams_on_the_way(
    checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    first = train_published(config(folders["csgo"], checkpoint("csgo"), tmp_path / "first", max_steps=1))
    settings = config(folders["csgo"], first, tmp_path / "second")
    sampling = replace(settings.sampling, num_sampling_steps=2)
    settings = replace(settings, samples=SampleConfig(every=2, clips=2, horizon=2, show=1), sampling=sampling)
    second = train_published(replace(settings, window=3, ema_decay=0.5))
    assert list((tmp_path / "second" / "samples").glob("step_0000002.*"))
    assert list(curve(tmp_path / "second", "validation/psnr_2")) == [1]
    world = WorldModel.from_pretrained(second)
    assert (world.config.window, world.config.actions.kind, world.config.sampling) == (3, "multi_binary", sampling)


def test_what_does_not_fit_is_named(checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path) -> None:
    settings = config(folders["csgo"], checkpoint("rt1"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"rt1.safetensors: actions: the checkpoint's network takes 13 real numbers"):
        train_published(settings)
    with pytest.raises(ValueError, match="init_from: expected a checkpoint .* got none"):
        train_published(replace(settings, init_from=None))
    with pytest.raises(ValueError, match="nowhere.ckpt"):
        train_published(replace(settings, init_from=str(tmp_path / "nowhere.ckpt")))
    small = DatasetConfig(str(folders["rt1"]), frame_size=(24, 40))
    with pytest.raises(ValueError, match=r"24x40 pixels, .* divisible by 16; set dataset.frame_size=\[32, 48\]"):
        train_published(replace(settings, init_from=str(checkpoint("rt1")), dataset=small))
    rt1 = replace(settings, init_from=str(checkpoint("rt1")), dataset=str(folders["rt1"]))
    with pytest.raises(ValueError, match=r"episodes are shorter than the window of 16 frames.*skip"):
        train_published(replace(rt1, window=16))
    with pytest.raises(ValueError, match="loss.objective: expected diffusion_forcing or teacher_forcing"):
        replace(settings.loss, objective="both")  # type: ignore[arg-type]
    sharded = run_config(tmp_path, strategy="fsdp")
    with pytest.raises(ValueError, match="strategy=fsdp: expected ema_decay=0 and optimizer.name=adamw, got 0.9"):
        replace(settings, run=sharded, ema_decay=0.9)
    with pytest.raises(ValueError, match="run.accelerator, devices, strategy, precision: not possible here"):
        train_published(replace(rt1, window=4, run=run_config(tmp_path / "gpu", accelerator="cuda")))


def test_a_bundle_that_sees_no_image_is_refused(
    tiny_bundle: Path, folders: dict[str, Path], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="not conditioned on an image; train it with train=world_model"):
        train_published(config(folders["rt1"], tiny_bundle, tmp_path / "run"))


def test_the_command(checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path) -> None:
    from v2w import cli

    here = ["devices=1", "accelerator=cpu", "strategy=auto", "precision=32-true", "progress_bar=false"]
    small = ["max_steps=1", "batch_size=1", "data_workers=0", "window=4", "reset_clips=1", "validation_batches=1"]
    command = ["train", "train=published", "model=csgo", *here, *small, f"folder={tmp_path / 'run'}"]
    start = [f"dataset={folders['csgo']}", "frame_size=[32, 32]", f"init_from={checkpoint()}", "samples.every=0"]
    assert cli.main([*command, *start, "train.run.validate_every=1"]) == 0
    world = WorldModel.from_pretrained(tmp_path / "run" / "bundle")
    assert (world.config.name, world.config.context_frames) == ("vid2world-csgo", 4)
    assert "recordings (csgo)" in (tmp_path / "run" / "bundle" / "card.md").read_text()


@pytest.mark.slow
def test_devices_that_share_the_weights_are_one_device_with_more_samples(
    checkpoint: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    """DDP and FSDP on two processes; the sharded run is interrupted twice and goes on, as it was and then alone."""

    def run(name: str, strategy: str, steps: int, devices: int = 2) -> None:
        lines = [
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})",
            "from dataclasses import replace",
            "from pathlib import Path",
            "from tests.trainer.test_published_training import config",
            "from world_model.trainer import SampleConfig, train_published",
            f"run = dict(max_steps={steps}, accumulate=2, batch_size=1, checkpoint_every=2, devices={devices})",
            f"data, start, folder = {str(folders['rt1'])!r}, {str(checkpoint())!r}, {str(tmp_path / name)!r}",
            "if __name__ == '__main__':",
            f"    settings = config(Path(data), Path(start), Path(folder), strategy={strategy!r}, **run)",
            "    sampling = replace(settings.sampling, num_sampling_steps=2)",
            "    samples = SampleConfig(every=2, clips=1, horizon=2, show=1)",
            "    settings = replace(settings, gradient_checkpointing=True, sampling=sampling, samples=samples)",
            "    train_published(settings)",
        ]
        script = tmp_path / f"{name}_{steps}.py"
        script.write_text("\n".join(lines))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]

    run("ddp", "ddp", 3)
    run("fsdp", "fsdp", 2)
    run("fsdp", "fsdp", 3)
    for value in ("train/loss", "validation/loss"):
        expected = curve(tmp_path / "ddp", value)
        assert len(expected) > 0 and curve(tmp_path / "fsdp", value) == pytest.approx(expected, rel=1e-4)
    dreams = (curve(tmp_path / name, "validation/psnr_2") for name in ("ddp", "fsdp"))
    assert next(dreams) == pytest.approx(next(dreams), abs=0.1)
    ours, theirs = (load_file(tmp_path / name / "bundle" / "model.safetensors") for name in ("fsdp", "ddp"))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)
    run("fsdp", "auto", 4, devices=1)
    assert set(curve(tmp_path / "fsdp")) == {0, 1, 2, 3}


class KeyboardInterruptError(Exception):
    """Stands for a kill: nothing is saved at the end."""


def _killed_in_step(step: int) -> Callable[[SteppedModule, Any, int], None]:
    original = SteppedModule.on_train_batch_start

    def start(self: SteppedModule, batch: Any, batch_idx: int) -> None:
        original(self, batch, batch_idx)
        if self.global_step == step:
            raise KeyboardInterruptError

    return start
