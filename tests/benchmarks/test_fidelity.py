"""The open-loop evaluation: what it says of models that are perfect, late by a frame, or untrained."""

from __future__ import annotations

import json
from pathlib import Path

import gym_pusht  # noqa: F401  (registers its id)
import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.clips import Clips
from benchmarks.fidelity import FidelityConfig, main
from benchmarks.fidelity_measures import block_moved, compare, evaluate, summarise
from benchmarks.metrics import PSNR_CEILING
from benchmarks.open_loop import imagine
from benchmarks.pusht_tracking import IMAGE_DIAGONAL, track
from world_model.model import WorldModel

HORIZON = 10


@pytest.fixture(scope="module")
def real() -> NDArray[np.uint8]:
    """Four recorded clips uint8 [4 14 64 64 3], the block pushed."""
    env = gym.make("gym_pusht/PushT-v0", obs_type="pixels", observation_width=64, observation_height=64)
    clips = []
    for seed in range(4):
        frame, _ = env.reset(seed=seed)
        frames = [frame]
        target = np.array(env.unwrapped.block.local_to_world((0, 45)))  # straight into the block
        for _ in range(13):
            frames.append(env.step(np.clip(target + 60, 30, 480).astype(np.float32))[0])
        clips.append(np.stack(frames))
    env.close()
    return np.stack(clips)


def measures_of(imagined: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, float]:
    """Measures at frames 1 and 10 of frames imagined after a context of 4."""
    recorded = real[:, 4:]
    positions = track(recorded)
    clips = Clips(real, torch.zeros(len(real), real.shape[1] - 1, 2), tuple(range(len(real))), (0,) * len(real))
    curve = compare(imagined, recorded, positions)
    curves = dict.fromkeys(("imagined", "shuffled", "copy", "autoencoder"), curve)
    return summarise(curves, block_moved(clips, 4, positions), seed=0)


def test_a_perfect_dream_scores_perfectly(real: NDArray[np.uint8]) -> None:
    measures = measures_of(real[:, 4:], real)
    assert measures["psnr_10"] == PSNR_CEILING
    assert measures["ssim_10"] == pytest.approx(1.0)
    assert measures["agent_error_10"] == measures["block_error_10"] == 0.0
    assert measures["clips_moving_10"] >= 1


def test_frames_late_by_one_are_noticed(real: NDArray[np.uint8]) -> None:
    late = measures_of(real[:, 3:-1], real)
    assert late["agent_lost_1"] == 0.0 and late["agent_error_1_found"] == late["agent_error_1"]
    assert late["psnr_1"] < 35 and late["ssim_1"] < 0.98
    assert late["agent_error_1"] > 0.7


def test_an_empty_dream_counts_as_lost_objects(real: NDArray[np.uint8]) -> None:
    measures = measures_of(np.full_like(real[:, 4:], 255), real)
    assert measures["agent_error_10"] == measures["block_error_10"] == pytest.approx(IMAGE_DIAGONAL)
    assert measures["agent_lost_10"] == measures["block_lost_10"] == 1.0


def clips_for(model: WorldModel, count: int, length: int) -> Clips:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, length, *model.config.frame_size, 3), dtype=np.uint8)
    actions = torch.from_numpy(rng.uniform(0, 512, (count, length - 1, 2)).astype(np.float32))
    return Clips(frames, actions, tuple(range(count)), (0,) * count)


def test_a_dream_does_not_depend_on_the_batch_size(tiny_model: WorldModel) -> None:
    clips = clips_for(tiny_model, 5, 9)
    sampling = tiny_model.config.sampling
    one, all_ = (
        imagine(tiny_model, clips, context_frames=4, sampling=sampling, seed=0, batch_size=size).frames.astype(int)
        for size in (2, 5)
    )
    assert one.shape == (5, 5, 16, 16, 3)
    assert np.abs(one - all_).max() <= 1


def test_actions_before_the_dream_and_after_reach_the_right_frames(tiny_model: WorldModel) -> None:
    """Changing the action from frame t to t + 1 leaves the frames up to t as they are, and changes frame t + 1."""
    clips = clips_for(tiny_model, 2, 9)
    sampling = tiny_model.config.sampling
    dream = imagine(tiny_model, clips, context_frames=4, sampling=sampling, seed=0, batch_size=2).frames
    clips.actions[:, 6] = 512.0 - clips.actions[:, 6]  # from frame 6 to frame 7: the fourth imagined one
    changed = imagine(tiny_model, clips, context_frames=4, sampling=sampling, seed=0, batch_size=2).frames
    np.testing.assert_array_equal(dream[:, :3], changed[:, :3])
    assert (dream[:, 3] != changed[:, 3]).any()


def test_evaluate_gives_all_measures(tiny_model: WorldModel) -> None:
    clips = clips_for(tiny_model, 4, 14)
    measures, curves = evaluate(
        tiny_model, clips, context_frames=4, sampling=tiny_model.config.sampling, seed=0, batch_size=4
    )
    wanted = {"psnr_1", "psnr_10", "ssim_10", "agent_error_10", "block_error_10", "action_ratio_10", "psnr_10_ci"}
    assert wanted | {"autoencoder_psnr_10", "copy_psnr_10", "ms_per_step"} <= measures.keys()
    assert "psnr_30" not in measures  # the horizon ends before
    assert curves["imagined"]["psnr"].shape == (4, 10)


def test_fidelity_end_to_end(
    tiny_bundle: Path, pusht_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = FidelityConfig(
        checkpoint=str(tiny_bundle), dataset=str(pusht_dataset), num_clips=3, horizon=HORIZON, results=str(tmp_path)
    )
    measures = main(config)
    result = json.loads((tmp_path / "fidelity.json").read_text())
    assert result["split"] == "test" and result["clips"] == 3
    assert len(result["curves"]["imagined"]["psnr"]) == HORIZON
    assert result["psnr_10"] == pytest.approx(measures["psnr_10"], rel=1e-5)
    assert (tmp_path / "fidelity.png").stat().st_size > 1000
    assert "PSNR of frame 10" in (tmp_path / "fidelity.md").read_text()
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last["psnr_10"] == result["psnr_10"] and "curves" not in last
    assert main(config)["psnr_10"] == measures["psnr_10"]  # reproducible


def test_sweep_end_to_end(tiny_bundle: Path, pusht_dataset: Path, tmp_path: Path) -> None:
    config = FidelityConfig(
        checkpoint=str(tiny_bundle),
        dataset=str(pusht_dataset),
        num_clips=2,
        horizon=HORIZON,
        sweep=True,
        sweep_steps=(1, 2),
        sweep_scales=(1.0, 1.5),
        results=str(tmp_path),
    )
    settings = main(config)["settings"]
    assert [(row["num_sampling_steps"], row["guidance_scale"]) for row in settings] == [
        (1, 1.0),
        (1, 1.5),
        (2, 1.0),
        (2, 1.5),
    ]
    assert all(row["ms_per_step_alone"] > 0 for row in settings)
    assert json.loads((tmp_path / "fidelity_sweep.json").read_text())["split"] == "validation"


def test_bad_settings_say_what_is_wrong(tiny_bundle: Path, pusht_dataset: Path) -> None:
    config = FidelityConfig(checkpoint=str(tiny_bundle), dataset=str(pusht_dataset), num_clips=99, horizon=10)
    with pytest.raises(ValueError, match="num_clips"):
        main(config)
    with pytest.raises(ValueError, match="horizon"):
        main(FidelityConfig(horizon=0))
    with pytest.raises(FileNotFoundError, match="shipped"):
        main(FidelityConfig(checkpoint="nothing-like-that"))
