"""A protocol from its settings to its report, with a tiny model on disk and recordings in the published formats."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.command_line import parse
from benchmarks.csgo_ood import OutOfDistributionConfig
from benchmarks.csgo_ood import main as csgo_ood
from benchmarks.film_files import find_pairs, read_film
from benchmarks.loading import load_model
from benchmarks.perceptual.i3d import MIN_FRAMES
from benchmarks.perceptual.weights import FILES
from benchmarks.protocols.settings import ProtocolConfig, settled
from benchmarks.protocols.table import PROTOCOLS
from benchmarks.rt1_action_control import ActionControlConfig
from benchmarks.rt1_action_control import main as rt1_action_control
from benchmarks.rt1_ar import RT1Config
from benchmarks.rt1_ar import main as rt1_ar
from benchmarks.rt1_nar import RT1NARConfig
from benchmarks.rt1_nar import main as rt1_nar
from benchmarks.videos import VideosConfig
from benchmarks.videos import main as videos
from tests.conftest import make_tiny_model
from world_model.types import ActionSpec

PIXELS = ("psnr", "ssim", "mse")


@pytest.fixture(scope="module")
def rt1_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    spec = ActionSpec("box", (13,), (-1.0,) * 13, (1.0,) * 13)
    return str(make_tiny_model(spec, (32, 48)).save_pretrained(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def game_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    spec = ActionSpec("multi_binary", (51,), dtype="int8")
    return str(make_tiny_model(spec, (32, 48)).save_pretrained(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def rt1_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three RT-1 episodes, one of them too short for a clip."""
    folder, rng = tmp_path_factory.mktemp("rt1"), np.random.default_rng(0)
    for number, length in ((3, 18), (7, 17), (9, 6)):
        image = rng.integers(0, 256, (length, 16, 20, 3), dtype=np.uint8)
        action = rng.uniform(-1, 1, (length, 13)).astype(np.float32)
        np.savez(folder / f"train_eps_{number:08d}.npz", image=image, action=action)
    return str(folder)


def config_of(kind: type[ProtocolConfig], model: str, data: str, out: Path, **changes: Any) -> Any:
    return replace(kind(), checkpoint=model, dataset=data, out=str(out), split="all", **changes)


def test_end_to_end(rt1_model: str, rt1_data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(RT1Config, rt1_model, rt1_data, tmp_path / "run", num_clips=2, metrics=PIXELS, dtype="float32")
    measures = rt1_ar(config)
    assert measures["clips"] == 2 and 3 < measures["psnr"] < 40
    result = json.loads((tmp_path / "run" / "rt1_ar.json").read_text())
    assert result["frames"] == list(range(1, 17)) and result["config"]["num_clips"] == 2
    folder = tmp_path / "run" / "videos"
    assert [pair.name for pair in find_pairs(folder)] == ["train_eps_00000003", "train_eps_00000007"]
    film = read_film(folder / "train_eps_00000003" / "pred_video.mp4")
    assert film.shape == (16, 32, 48, 3)
    # The recorded film is letterboxed: 16x20 frames in 32x48 leave bars of four pixels left and right.
    recorded = read_film(folder / "train_eps_00000003" / "gt_video.mp4")
    assert recorded[:, :, :3].mean() < 20 < recorded[:, :, 8:40].mean()

    stamp = (folder / "train_eps_00000003" / "scores.json").stat().st_mtime_ns
    assert rt1_ar(config) == measures  # read back, not made again
    assert (folder / "train_eps_00000003" / "scores.json").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match=r"another run lies here .seed was 0, is 1"):
        rt1_ar(replace(config, seed=1))

    again = videos(VideosConfig(folder=str(folder), protocol="rt1_ar", results=str(tmp_path)))
    assert again["psnr"] == pytest.approx(measures["psnr"], abs=2)  # of the films, which are lossy


def test_all_frames_together(rt1_model: str, rt1_data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(RT1NARConfig, rt1_model, rt1_data, tmp_path, num_clips=1, metrics=PIXELS, dtype="float32")
    assert rt1_nar(replace(config, num_sampling_steps=2))["clips"] == 1
    assert (tmp_path / "videos" / "train_eps_00000003" / "pred_video.mp4").exists()


def test_processes_of_a_launcher(
    rt1_model: str, rt1_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second makes its film and stops; the first makes the other, waits for nothing more, and reports both."""
    config = config_of(RT1Config, rt1_model, rt1_data, tmp_path, num_clips=2, metrics=PIXELS, dtype="float32")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert rt1_ar(config) == {}
    assert not (tmp_path / "rt1_ar.json").exists() and len(list(tmp_path.rglob("scores.json"))) == 1
    monkeypatch.setenv("RANK", "0")
    assert rt1_ar(config)["clips"] == 2


def test_first_process_gives_up_on_one_that_died(
    rt1_model: str, rt1_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    config = config_of(RT1Config, rt1_model, rt1_data, tmp_path, num_clips=2, metrics=PIXELS, patience_minutes=1e-9)
    with pytest.raises(TimeoutError, match="first: train_eps_00000007.*same command again"):
        rt1_ar(config)


def test_six_directions(rt1_model: str, rt1_data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(ActionControlConfig, rt1_model, rt1_data, tmp_path, dtype="float32", batch_size=6)
    measures = rt1_action_control(config)
    assert measures["clips"] == 6 and measures["response_any"] > 0  # the model's actions do reach the frames
    assert (tmp_path / "videos" / "train_eps_00000003_Z-" / "pred_video.mp4").exists()
    with pytest.raises(ValueError, match="rt1_action_control has nothing recorded to follow"):
        rt1_action_control(replace(config, actions="recorded"))


def test_unseen_games(game_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "games").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (15, 28, 3), dtype=np.uint8)).save(tmp_path / "games" / "0.png")
    config = config_of(OutOfDistributionConfig, game_model, str(tmp_path / "games"), tmp_path / "run", dtype="float32")
    measures = csgo_ood(replace(config, num_clips=1))
    assert measures["clips"] == 1 and measures["sharpness"] > 0
    assert len(read_film(tmp_path / "run" / "videos" / "0" / "pred_video.mp4")) == 59


@pytest.mark.parametrize(("window", "reaches"), [(5, True), (3, False)])
def test_the_window_is_the_protocols(rt1_model: str, window: int, reaches: bool) -> None:
    """Whether the first of five context frames makes a difference to the next one."""
    model = load_model(rt1_model, dtype="float32")
    model.set_window(window)
    actions = torch.zeros(1, 5, 13)
    latents = torch.randn(1, 5, *model.config.latent_shape, generator=torch.Generator().manual_seed(1))
    other = torch.cat([latents[:, :1] + 1, latents[:, 1:]], dim=1)
    found = []
    with torch.inference_mode():
        for context in (latents, other):
            generator = torch.Generator().manual_seed(0)
            state = model.init_state(context, actions[:, :4], generator)
            found.append(model.rollout(state, actions[:, 4:], generator)[1])
    assert bool((found[0] - found[1]).abs().max() > 1e-5) == reaches


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_missing_dataset_says_what_belongs_there(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    config = parse(name, next(v for k, v in vars(module).items() if k.endswith("Config") and k != "ProtocolConfig"), [])
    assert config.out == f"runs/eval/{name}"
    with pytest.raises(ValueError, match=f"dataset: {name} expects a folder with .*there is none at .*nowhere"):
        module.main(replace(config, dataset=str(tmp_path / "nowhere"), metrics=PIXELS, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_named_before_anything_is_made(
    rt1_model: str, rt1_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("V2W_METRIC_WEIGHTS", raising=False)
    config = config_of(RT1Config, rt1_model, rt1_data, tmp_path / "out", metric_weights=str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        rt1_ar(config)
    for key in ("lpips_vgg", "fid", "fvd"):
        assert FILES[key].name in str(caught.value) and FILES[key].source in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unusable_settings_say_what_is_wrong(rt1_model: str, game_model: str, rt1_data: str, tmp_path: Path) -> None:
    config = config_of(RT1Config, rt1_model, rt1_data, tmp_path / "out", metrics=PIXELS)
    with pytest.raises(ValueError, match=r"expects 1024 clips of 16 frames.*1 too short; train_eps_00000009.npz has 6"):
        rt1_ar(config)
    with pytest.raises(ValueError, match="batch_size: expected more than 0, got 0"):
        rt1_ar(replace(config, batch_size=0))
    with pytest.raises(ValueError, match="checkpoint: expected a folder, got nothing"):
        rt1_ar(replace(config, checkpoint=""))
    with pytest.raises(ValueError, match="random_actions: expected the protocol csgo"):
        rt1_ar(replace(config, random_actions=True))
    with pytest.raises(ValueError, match="its actions have 13 numbers, the model takes 51"):
        rt1_ar(replace(config, checkpoint=game_model, num_clips=1))
    starts = tmp_path / "starts.json"
    starts.write_text('{"train_eps_00000009": 0}')
    with pytest.raises(ValueError, match="train_eps_00000009 has 6 frames, too few for a clip of 16"):
        rt1_ar(replace(config, starts=str(starts), num_clips=1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing in it"):
        rt1_ar(replace(config, dataset=str(tmp_path / "empty")))
    assert not (tmp_path / "out").exists()


def test_quick_runs_stay_apart(
    rt1_model: str, rt1_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rt1_ar(config_of(RT1Config, rt1_model, rt1_data, tmp_path / "out", quick=True))["clips"] == 2
    assert (tmp_path / "runs" / "benchmarks" / "rt1_ar" / "rt1_ar.md").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_quick_runs_are_short(name: str) -> None:
    whole = PROTOCOLS[name]
    protocol, config = settled(whole, ProtocolConfig("model", "data", "out", quick=True))
    assert protocol.horizon == 3 and config.num_clips == min(2, whole.clips) and config.num_sampling_steps == 2
    assert bool(protocol.scored) == bool(whole.scored) and (protocol.film is None) == (whole.film is None)
    assert max((*protocol.scored, *(protocol.film or ())), default=0) < protocol.length
    protocol, _ = settled(whole, ProtocolConfig("model", "data", "out", metrics=("fvd",), quick=True))
    assert protocol.film is None or len(protocol.film) >= MIN_FRAMES


def test_a_quick_run_of_the_one_start_in_six_directions(
    rt1_model: str, rt1_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rt1_action_control(config_of(ActionControlConfig, rt1_model, rt1_data, tmp_path, quick=True))["clips"] == 6
