"""Training on corrected dreams: the past is the dream's, the target what truly came next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.conftest import world_config
from tests.trainer.test_autoencoder_training import curve
from world_model.conditioning import Autoencoder
from world_model.diffusion.clip_pool import ClipPool
from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.noise_levels import LevelConfig
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.trainer import train_world_model
from world_model.trainer.corrections import FILE, CorrectedClips, load_corrections
from world_model.trainer.latents import EncodedEpisodes, LatentClips, weights_digest
from world_model.types import Conditioning


def dreams(episodes: int = 4, steps: int = 12, histories: bool = True) -> dict[str, Tensor]:
    """True latents are 0 all over, dreamt ones -1 in the first episode, -2 in the second, ..."""
    frames = episodes * (steps + 1)
    numbers = torch.arange(1, episodes + 1).repeat_interleave(steps + 1).half()
    tensors = {
        "latents": torch.zeros(frames, 4, 4, 4).half(),
        "histories": -numbers[:, None, None, None].expand(frames, 4, 4, 4).contiguous(),
        "actions": torch.zeros(episodes * steps, 2),
        "lengths": torch.full((episodes,), steps),
    }
    if not histories:
        del tensors["histories"]
    return tensors


def write(folder: Path, autoencoder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    folder.mkdir(parents=True)
    made_with = weights_digest(Autoencoder.from_pretrained(autoencoder))
    save_file(tensors or dreams(), folder / FILE, {"autoencoder": made_with})
    return folder


def test_a_batch_holds_dreams_and_recorded_clips() -> None:
    recorded = EncodedEpisodes(torch.full((21, 4, 4, 4), 7.0), torch.ones(20, 2), torch.tensor([20]))
    corrections, others = LatentClips(EncodedEpisodes(**dreams()), 5), LatentClips(recorded, 5)
    clips = CorrectedClips(corrections, others, 0.8)
    assert len(clips) == 36 + 9
    for index in range(len(clips)):
        clip = clips[index]
        if index < 36:
            assert bool((clip["latents"] == 0).all()) and float(clip["history"].mean()) == -1 - index // 9
        else:
            assert torch.equal(clip["latents"], clip["history"]) and float(clip["latents"].mean()) == 7
    batch = clips.__getitems__([40, 3, 36, 30])
    assert sorted(batch["history"].mean((1, 2, 3, 4)).tolist()) == [-4, -1, 7, 7]
    assert batch["history"].shape == batch["latents"].shape == (4, 5, 4, 4, 4) and batch["actions"].shape == (4, 4, 2)
    alone = CorrectedClips(corrections, others, 1.0)
    assert len(alone) == 36 and alone.__getitems__([0, 35])["history"].shape == (2, 5, 4, 4, 4)
    assert len(CorrectedClips(corrections, others, 0.1)) == 36 + len(others)  # no recorded clip twice


class Past:
    """A network that predicts grey and keeps the past it was shown."""

    def __call__(self, latents: Tensor, levels: Tensor, cond: Conditioning, *_: Any, **__: Any) -> tuple[Tensor, None]:
        self.shown = latents[:, : latents.shape[1] // 2]
        return torch.zeros_like(latents), None


def test_the_past_is_the_dream_and_the_target_what_truly_came_next() -> None:
    config = LossConfig("teacher_forcing", LevelConfig(1.0), action_dropout=0.0)
    schedule, network = Schedule(ScheduleConfig(zero_terminal_snr=True)), Past()
    true, dreamt = torch.full((2, 5, 1, 4, 4), 3.0), torch.full((2, 5, 1, 4, 4), 100.0)
    inputs = (network, schedule, true, torch.zeros(2, 4, 2))
    loss, _ = training_loss(*inputs, config, torch.Generator().manual_seed(0), dreamt=dreamt)
    assert float(network.shown.mean()) == pytest.approx(100.0, rel=0.05)
    assert float(loss) == pytest.approx(9.0, rel=0.05)  # of v, minus the clean frame under pure noise
    for wrong in (replace(config, objective="diffusion_forcing"), replace(config, self_history=0.5)):
        with pytest.raises(ValueError, match="expected objective=teacher_forcing, and self_history=0 or a pool"):
            training_loss(*inputs, wrong, torch.Generator(), dreamt=dreamt)


def test_in_a_pool_the_dream_is_the_first_past_of_a_clip() -> None:
    config = LossConfig(
        "teacher_forcing", LevelConfig(1.0), action_dropout=0.0, self_history=1.0, self_history_passes=2,
        self_history_pool=2, context_frames=2,
    )  # fmt: skip
    schedule, network, pool = Schedule(ScheduleConfig(zero_terminal_snr=True)), Past(), ClipPool(config)
    true, dreamt = torch.full((2, 5, 1, 4, 4), 3.0), torch.full((2, 5, 1, 4, 4), 100.0)
    generator, pasts = torch.Generator().manual_seed(0), []
    for _ in range(2):
        training_loss(network, schedule, true, torch.zeros(2, 4, 2), config, generator, pool=pool, dreamt=dreamt)
        pasts.append(network.shown[:, :, 0, 0, 0])
    torch.testing.assert_close(pasts[0], torch.full((2, 5), 100.0), atol=2.0, rtol=0)
    grey = torch.tensor([100.0, 100.0, 0.0, 0.0, 0.0]).expand(2, 5)  # as predicted, but for the dream's context
    torch.testing.assert_close(pasts[1], grey, atol=2.0, rtol=0)


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "corrections", autoencoder)

    def train(name: str, steps: int, corrections: Path | None = folder) -> Path:
        config = world_config(dataset, autoencoder, tmp_path / name, max_steps=steps)
        return train_world_model(replace(config, corrections=None if corrections is None else str(corrections)))

    train("whole", 9)
    train("part", 5)
    train("part", 9)
    train("without", 9, None)
    assert curve(tmp_path / "part") == pytest.approx(curve(tmp_path / "whole"), rel=1e-5)
    assert curve(tmp_path / "without") != pytest.approx(curve(tmp_path / "whole"), rel=1e-3)


def test_what_cannot_be_read_is_named(autoencoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corrections\.safetensors does not exist; record it with `v2w correct`"):
        load_corrections(tmp_path, autoencoder)
    without = write(tmp_path / "without", autoencoder, dreams(histories=False))
    with pytest.raises(ValueError, match="holds no dreams"):
        load_corrections(without, autoencoder)
    folder = write(tmp_path / "good", autoencoder)
    assert load_corrections(folder, autoencoder).lengths.tolist() == [12] * 4
    torch.manual_seed(1)
    other = Autoencoder(Autoencoder.from_pretrained(autoencoder).config).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"good was recorded with another autoencoder than .*other"):
        load_corrections(folder, other)
    (folder / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="not readable"):
        load_corrections(folder, autoencoder)


def test_wrong_settings_are_named(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    config = world_config(dataset, autoencoder, tmp_path)
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match=f"corrected_share: expected above 0 and up to 1, got {share}"):
            replace(config, corrected_share=share)
    for loss in (dict(self_history=0.5), dict(salience=0.5), dict(objective="diffusion_forcing")):
        with pytest.raises(ValueError, match="corrections: expected frames=cached_latents"):
            replace(config, corrections="here", loss=replace(config.loss, **loss))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="corrections: expected frames=cached_latents"):
        replace(config, corrections="here", frames="pixels")
