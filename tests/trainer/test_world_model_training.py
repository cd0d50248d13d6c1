"""Training the world model: it learns, resumes, averages, and says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_network
from tests.trainer.conftest import SIZE, run_config, world_config, write_dataset
from tests.trainer.test_autoencoder_training import REPOSITORY, curve
from world_model.data import read_minari
from world_model.model import WorldModel
from world_model.trainer import OptimizerConfig, SampleConfig, train_world_model
from world_model.trainer.averaging import GrowingDecay
from world_model.trainer.latents import EncodedEpisodes, LatentClips, encoded
from world_model.trainer.samples import write_comparison


def test_it_learns_and_saves_a_bundle(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    config = world_config(dataset, autoencoder, tmp_path / "run", max_steps=30, validate_every=15)
    optimizer = OptimizerConfig(learning_rate=4e-3, warmup_steps=2, schedule="constant")
    samples = SampleConfig(every=15, clips=2, horizon=10, show=2)
    bundle = train_world_model(replace(config, optimizer=optimizer, samples=samples))
    losses = list(curve(tmp_path / "run").values())
    assert len(losses) == 30 and np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert set(curve(tmp_path / "run", "validation/psnr_10")) == {14, 29}
    assert list((tmp_path / "run" / "samples").glob("step_0000015.*"))
    assert curve(tmp_path / "run", "speed/steps_per_s")
    world = WorldModel.from_pretrained(bundle)
    assert (
        world.config.name == "toy" and world.config.source_env == "Toy-v0" and world.config.frame_size == (SIZE, SIZE)
    )
    with np.load(bundle / "episodes.npz") as clips:
        assert clips["frames"].shape == (3, 4, SIZE, SIZE, 3) and clips["actions"].shape == (3, 3, 2)
        recorded = read_minari(dataset)
        validation = [frame.tobytes() for e in recorded.episodes("validation") for frame in e.frames]
        assert all(frame.tobytes() in validation for clip in clips["frames"] for frame in clip)
    assert "8 recorded episodes" in (bundle / "card.md").read_text()


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    whole = train_world_model(world_config(dataset, autoencoder, tmp_path / "whole", max_steps=9))
    train_world_model(world_config(dataset, autoencoder, tmp_path / "part", max_steps=5))
    part = train_world_model(world_config(dataset, autoencoder, tmp_path / "part", max_steps=9))
    assert curve(tmp_path / "part") == pytest.approx(curve(tmp_path / "whole"), rel=1e-5)
    a, b = (WorldModel.from_pretrained(bundle).state_dict() for bundle in (whole, part))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-3, atol=1e-5)  # the averaged weights, in half precision
    again = train_world_model(world_config(dataset, autoencoder, tmp_path / "part", max_steps=9))
    for name, value in WorldModel.from_pretrained(again).state_dict().items():
        torch.testing.assert_close(value, b[name], rtol=0, atol=0)


def test_the_bundle_holds_the_average(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    bundle = train_world_model(world_config(dataset, autoencoder, tmp_path / "run", max_steps=4))
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    saved = WorldModel.from_pretrained(bundle).network.state_dict()
    name = "network.stem.weight"
    average, current = checkpoint["state_dict"][name], checkpoint["current_model_state"][name]
    torch.testing.assert_close(saved["stem.weight"], average, rtol=1e-3, atol=1e-5)
    assert (average - current).abs().max() > 1e-5


def test_the_average_starts_young() -> None:
    average, current = [torch.zeros(2)], [torch.ones(2)]
    GrowingDecay(0.999)(average, current, torch.tensor(0))
    torch.testing.assert_close(average[0], torch.full((2,), 0.9))
    average = [torch.zeros(2)]
    GrowingDecay(0.9)(average, current, 10_000)
    torch.testing.assert_close(average[0], torch.full((2,), 0.1))


def test_windows_of_latents_keep_frames_and_actions_together() -> None:
    lengths = torch.tensor([3, 1, 4])
    frames = torch.cat([torch.arange(n + 1) + 100 * e for e, n in enumerate(lengths.tolist())])
    actions = torch.cat([torch.arange(n) + 100 * e for e, n in enumerate(lengths.tolist())])
    encoded_episodes = EncodedEpisodes(frames[:, None, None, None].half(), actions[:, None].float(), lengths)
    clips = LatentClips(encoded_episodes, 3, short="skip")
    assert len(clips) == 2 + 3
    for number, first in enumerate([0, 1, 200, 201, 202]):
        assert clips[number]["latents"][:, 0, 0, 0].tolist() == [first, first + 1, first + 2]
        assert clips[number]["actions"][:, 0].tolist() == [first, first + 1]
    with pytest.raises(ValueError, match=r"toy: expected episodes of 3 frames .* got 1 of 3 shorter ones"):
        LatentClips(encoded_episodes, 3, source="toy")
    with pytest.raises(ValueError, match="got 3 of 3 shorter"):
        LatentClips(encoded_episodes, 9, short="skip")


def test_the_latent_cache_is_used_and_knows_its_autoencoder(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    recorded = read_minari(dataset)
    first = encoded(recorded, "train", autoencoder, tmp_path)
    (path,) = tmp_path.iterdir()
    again = encoded(recorded, "train", autoencoder, tmp_path)
    assert torch.equal(first.latents, again.latents) and list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"safetensors: not readable .* delete it"):
        encoded(recorded, "train", autoencoder, tmp_path)


def test_wrong_inputs_are_named(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    config = world_config(dataset, autoencoder, tmp_path / "run")
    short = write_dataset(tmp_path / "short", [20] * 8 + [3])
    with pytest.raises(
        ValueError, match=r"short \(\w+\): expected episodes of 6 frames \(the window\) or more, got 1 of"
    ):
        train_world_model(replace(config, dataset=str(short), window=6, run=run_config(tmp_path / "a")))
    with pytest.raises(ValueError, match=r"empty.*record"):
        train_world_model(replace(config, dataset=str(write_dataset(tmp_path / "empty", []))))
    with pytest.raises(ValueError, match=r"network: expected in_channels = out_channels = 4, .* got 8"):
        train_world_model(replace(config, network=tiny_network(in_channels=8)))
    with pytest.raises(ValueError, match=r"autoencoder.json is missing"):
        train_world_model(replace(config, autoencoder=str(tmp_path)))
    with pytest.raises(ValueError, match="ema_decay"):
        train_world_model(replace(config, ema_decay=1.0))


def test_a_picture_where_no_video_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", None)
    frames = torch.zeros(2, 7, 8, 8, 3, dtype=torch.uint8)
    assert write_comparison(tmp_path / "step", frames, frames, show=2, fps=10).suffix == ".png"


@pytest.mark.slow
def test_two_processes_train_together(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from pathlib import Path\n"
        "from tests.trainer.conftest import world_config\n"
        "from world_model.trainer import train_world_model\n"
        "if __name__ == '__main__':\n"
        f"    train_world_model(world_config(Path({str(dataset)!r}), Path({str(autoencoder)!r}), "
        f"Path({str(tmp_path / 'ddp')!r}), max_steps=4, batch_size=2, devices=2, strategy='ddp'))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(curve(tmp_path / "ddp")) == 4
    WorldModel.from_pretrained(tmp_path / "ddp" / "bundle")
