"""Learning to sample in few steps: targets that lead where the teacher's steps do, and trainings that use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import world_config
from tests.trainer.test_autoencoder_training import curve
from world_model.diffusion.distillation import Distillation
from world_model.diffusion.loss import LossConfig
from world_model.diffusion.parameterization import v_of_clean
from world_model.diffusion.samplers import ddim_step, ddim_table
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.model import SamplingConfig, WorldModel
from world_model.trainer import DistillationConfig, WorldTrainConfig, train_world_model


def bent(x: Tensor, levels: Tensor) -> Tensor:
    """A teacher's v that no single step could follow."""
    return torch.tanh(1.3 * x + levels[..., None, None, None] / 1000)


@pytest.mark.parametrize("base_scale", [1.0, 0.7])
@pytest.mark.parametrize(("student", "teacher"), [(1, 4), (2, 8), (3, 9)])
def test_a_step_of_the_student_ends_where_the_teachers_do(student: int, teacher: int, base_scale: float) -> None:
    schedule, generator = Schedule(ScheduleConfig(base_scale=base_scale)), torch.Generator().manual_seed(0)
    distillation = Distillation(None, schedule, student, teacher)  # type: ignore[arg-type]
    levels = distillation.draw_levels((3, 8), generator)
    noisy = torch.randn(3, 8, 2, 4, 4, generator=generator)
    clean = distillation.clean(bent, noisy, levels)
    few, many = ddim_table(schedule, student), ddim_table(schedule, teacher)
    assert set(levels.flatten().tolist()) == set(few.levels)
    for step, level in enumerate(few.levels):
        x = start = noisy[levels == level][:, None]
        for lower in reversed(range(step * teacher // student, (step + 1) * teacher // student)):
            at = torch.full(x.shape[:2], many.levels[lower])
            x = ddim_step(many, lower, x, bent(x, at), schedule.signal(at), None)
        signal = schedule.signal(torch.full(x.shape[:2], level))
        v = v_of_clean(start, clean[levels == level][:, None], signal)
        torch.testing.assert_close(ddim_step(few, step, start, v, signal, None), x, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def teacher(dataset: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = world_config(dataset, autoencoder, tmp_path_factory.mktemp("teacher"), max_steps=20)
    return train_world_model(config)


def student_config(dataset: Path, teacher: Path, folder: Path, **run: int) -> WorldTrainConfig:
    return replace(
        world_config(dataset, teacher, folder, **run),
        init_from=str(teacher),
        latent_cache=str(folder / "latents"),
        sampling=SamplingConfig(num_sampling_steps=2),
        distillation=DistillationConfig(teacher=str(teacher), steps=8),
        loss=LossConfig(objective="teacher_forcing", action_dropout=0.0, self_history=0.5, self_history_passes=2),
        ema_decay=0.0,
    )


def test_a_student_comes_nearer_to_its_teacher(dataset: Path, teacher: Path, tmp_path: Path) -> None:
    bundle = train_world_model(student_config(dataset, teacher, tmp_path / "run", max_steps=60))
    worlds = {name: WorldModel.from_pretrained(path) for name, path in (("teacher", teacher), ("student", bundle))}
    assert worlds["student"].config.sampling.num_sampling_steps == 2
    latents, actions = torch.randn(16, 4, *worlds["teacher"].config.latent_shape), 512 * torch.rand(16, 4, 2)

    def dream(name: str, steps: int) -> Tensor:
        world, generator = worlds[name], torch.Generator().manual_seed(0)
        sampling = world.with_sampling(num_sampling_steps=steps)
        with torch.no_grad():
            state = world.init_state(latents, actions[:, :3], generator, sampling)
            return world.step(state, actions[:, 3], generator, sampling)[1]

    wanted = dream("teacher", 8)
    before, after = (float((dream(name, 2) - wanted).square().mean()) for name in ("teacher", "student"))
    assert after < 0.7 * before


def test_a_resumed_distillation_is_the_uninterrupted_one(dataset: Path, teacher: Path, tmp_path: Path) -> None:
    train_world_model(student_config(dataset, teacher, tmp_path / "whole", max_steps=6))
    train_world_model(student_config(dataset, teacher, tmp_path / "part", max_steps=4))
    train_world_model(student_config(dataset, teacher, tmp_path / "part", max_steps=6))
    assert curve(tmp_path / "part") == pytest.approx(curve(tmp_path / "whole"), rel=1e-5)


def test_what_does_not_fit_is_named(dataset: Path, autoencoder: Path, teacher: Path, tmp_path: Path) -> None:
    config = student_config(dataset, teacher, tmp_path / "run", max_steps=1)
    with pytest.raises(ValueError, match=r"distillation\.steps: expected a multiple of .*=2 above it, got 2"):
        train_world_model(replace(config, distillation=DistillationConfig(str(teacher), 2)))
    with pytest.raises(ValueError, match=r"loss\.objective: expected teacher_forcing"):
        replace(config, loss=LossConfig(objective="diffusion_forcing"))
    with pytest.raises(ValueError, match="sampling: expected spacing=trailing and eta=0"):
        replace(config, sampling=SamplingConfig(num_sampling_steps=2, eta=1.0))
    with pytest.raises(ValueError, match=r"distillation\.teacher: expected schedule as in this run"):
        train_world_model(replace(config, init_from=None, schedule=ScheduleConfig(base_scale=0.7)))
    train_world_model(replace(config, autoencoder=str(autoencoder)))  # the same, before it was rounded
    other = WorldModel.from_pretrained(teacher).autoencoder
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(ValueError, match=r"distillation\.teacher: .* has another autoencoder"):
        train_world_model(replace(config, autoencoder=str(other.save_pretrained(tmp_path / "other"))))
