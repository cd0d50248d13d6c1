"""Clips that stay for several steps: their past is what the network last made of them, also after a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import world_config
from tests.trainer.test_autoencoder_training import curve
from world_model.diffusion.clip_pool import ClipPool
from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.noise_levels import LevelConfig
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.trainer import DistillationConfig, train_world_model
from world_model.types import Conditioning, Scene

POOLED = LossConfig(
    "teacher_forcing", LevelConfig(1.0), action_dropout=0.0, self_history=1.0, self_history_passes=3,
    self_history_pool=6, context_frames=2,
)  # fmt: skip


class OneMore:
    """A network that predicts each frame of the past, one brighter; keeps the pasts and the actions it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, Tensor]] = []

    def __call__(self, latents: Tensor, levels: Tensor, cond: Conditioning, *_: Any, **__: Any) -> tuple[Tensor, None]:
        past = latents[:, : latents.shape[1] // 2]
        assert cond.actions is not None
        for clip, frames in zip(cond.actions[:, 1, 0].tolist(), past[:, :, 0, 0, 0], strict=True):
            self.shown.append((clip, frames))
        return torch.cat([torch.zeros_like(past), -(past + 1.0)], 1), None  # v of clean frames under pure noise


def visits(config: LossConfig, steps: int = 300, batch: int = 2) -> dict[float, list[Tensor]]:
    """The pasts that the network was shown of each clip: frames of zeros, numbered by their actions."""
    network, schedule, generator = OneMore(), Schedule(ScheduleConfig(zero_terminal_snr=True)), torch.Generator()
    pool = ClipPool(config)
    for step in range(steps):
        actions = torch.arange(batch * step, batch * (step + 1)).float()[:, None, None].expand(-1, 4, 2)
        training_loss(network, schedule, torch.zeros(batch, 5, 1, 1, 1), actions, config, generator, pool=pool)
    assert len(pool.clips["left"]) == config.self_history_pool
    seen: dict[float, list[Tensor]] = {}
    for clip, past in network.shown:
        seen.setdefault(clip, []).append(past)
    return seen


def test_the_past_of_a_clip_is_what_the_network_last_made_of_it() -> None:
    seen = visits(POOLED)
    for pasts in seen.values():
        for number, past in enumerate(pasts):  # the first as recorded, then always one brighter, but for the context
            torch.testing.assert_close(past, torch.tensor([0.0, 0.0, number, number, number]), atol=0.3, rtol=0)
    counts = torch.tensor([len(pasts) for pasts in list(seen.values())[:-6]])  # the last ones are not done yet
    assert counts.unique().tolist() == [2, 3, 4] and 2.7 < float(counts.float().mean()) < 3.3


def test_some_clips_are_trained_on_as_recorded_only() -> None:
    seen = list(visits(replace(POOLED, self_history=0.5)).values())[:-6]
    alone = sum(len(pasts) == 1 for pasts in seen) / len(seen)
    assert 0.4 < alone < 0.6


def test_a_frame_whose_action_was_hidden_stays_in_the_past_as_it_was() -> None:
    for pasts in visits(replace(POOLED, action_dropout=1.0), steps=20).values():
        assert all(bool((past.abs() < 0.3).all()) for past in pasts)
    frames = torch.cat([past for pasts in visits(replace(POOLED, action_dropout=0.5)).values() for past in pasts[1:2]])
    brighter = frames.view(-1, 5)[:, 2:]
    assert 0.4 < float(brighter.round().mean()) < 0.6


def test_clips_of_a_pool_have_nothing_but_latents_and_actions() -> None:
    latents, actions = torch.zeros(2, 5, 1, 1, 1), torch.ones(2, 4, 2)
    for other in ({"scene": Scene(torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 1))}, {"unusual": latents[:, :, 0]}):
        with pytest.raises(ValueError, match=r"loss\.self_history_pool: expected neither"):
            training_loss(
                OneMore(), Schedule(), latents, actions, POOLED, torch.Generator(), **other, pool=ClipPool(POOLED)
            )


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    def train(name: str, steps: int) -> Path:
        config = world_config(dataset, autoencoder, tmp_path / name, max_steps=steps)
        return train_world_model(replace(config, loss=POOLED))

    train("whole", 9)
    train("part", 5)
    train("part", 9)
    assert curve(tmp_path / "part") == pytest.approx(curve(tmp_path / "whole"), rel=1e-5)
    path = tmp_path / "part" / "checkpoints" / "last.ckpt"
    left = torch.load(path, weights_only=True)["clip_pool"]["left"]
    assert len(left) == 8 and int(left.min()) >= 0  # two batches of four, the first to reach six


def test_wrong_settings_are_named(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    for wrong, message in (
        (dict(self_history_pool=-1), "self_history_pool of 0 or more, got 3 and -1"),
        (dict(self_history_passes=0), "self_history_passes of 1 or more"),
        (dict(objective="diffusion_forcing"), "expected objective=teacher_forcing, got 'diffusion_forcing'"),
        (
            dict(levels=LevelConfig(0.5)),
            "expected levels.terminal_fraction=1 .* got 0.5; or set self_history_start=drawn",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            replace(POOLED, **wrong)  # type: ignore[arg-type]
    assert replace(POOLED, levels=LevelConfig(0.5), self_history_start="drawn").self_history_pool == 6
    config = replace(world_config(dataset, autoencoder, tmp_path), loss=POOLED)
    with pytest.raises(ValueError, match=r"loss\.salience=0 and no distillation.teacher, got 0\.5 and None"):
        replace(config, loss=replace(POOLED, salience=0.5))
    with pytest.raises(ValueError, match=r"no distillation\.teacher, got 0 and here"):
        replace(config, distillation=DistillationConfig("here"))
    with pytest.raises(ValueError, match=r"expected 0 with several devices, got 6 with run\.devices=2"):
        replace(config, run=replace(config.run, devices=2))
