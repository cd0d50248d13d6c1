"""Saving and loading a model, and what bad files get."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import ACTION_SPECS, make_tiny_model
from world_model import bundle
from world_model.model import WorldModel


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


@pytest.mark.parametrize("kind", ACTION_SPECS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    model = make_tiny_model(ACTION_SPECS[kind])
    back = WorldModel.from_pretrained(model.save_pretrained(tmp_path))
    assert back.config == model.config
    for key, value in model.state_dict().items():
        torch.testing.assert_close(back.state_dict()[key], value, atol=1e-6, rtol=1e-3)  # stored in half precision
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ACTION_SPECS)
def test_everything_is_on_the_device_that_was_asked_for(kind: str, tmp_path: Path) -> None:
    there = WorldModel.from_pretrained(make_tiny_model(ACTION_SPECS[kind]).save_pretrained(tmp_path), device="meta")
    tensors = {**dict(there.named_parameters()), **dict(there.named_buffers())}
    assert {name for name, tensor in tensors.items() if tensor.device.type != "meta"} == set()


def test_reset_clips_round_trip(tiny_bundle: Path, tiny_model: WorldModel) -> None:
    clips = bundle.load_episodes(tiny_bundle, tiny_model.config.actions)
    assert clips is not None and clips["frames"].shape == (2, 4, 16, 16, 3) and clips["actions"].shape == (2, 3, 2)


def test_sampling_settings_that_came_later_are_the_models_own(copied: Path) -> None:
    values = yaml.safe_load((copied / "config.yaml").read_text())
    assert values["sampling"].pop("temperature") == 1.0
    (copied / "config.yaml").write_text(yaml.safe_dump(values))
    assert WorldModel.from_pretrained(copied).config.sampling.temperature == 1.0


def test_truncated_weights(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"model.safetensors.*truncated or damaged"):
        WorldModel.from_pretrained(copied)


def test_pytorch_checkpoint_in_place_of_safetensors(copied: Path) -> None:
    torch.save({"a": torch.zeros(3)}, copied / "model.safetensors")
    with pytest.raises(ValueError, match="zip archive, perhaps a PyTorch checkpoint"):
        WorldModel.from_pretrained(copied)


def test_weights_of_another_model(copied: Path, tmp_path: Path) -> None:
    other = make_tiny_model(model_channels=32).save_pretrained(tmp_path / "other")
    shutil.copy(other / "model.safetensors", copied)
    with pytest.raises(ValueError, match=r"does not fit its config.yaml.*expected \(.*got \("):
        WorldModel.from_pretrained(copied)


def test_unknown_config_key(copied: Path) -> None:
    values = yaml.safe_load((copied / "config.yaml").read_text())
    values["network"]["windw"] = 3
    (copied / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=r"config.yaml: unknown key 'network.windw'. Did you mean 'network.window'"):
        WorldModel.from_pretrained(copied)


def test_missing_file_and_missing_folder(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="model.safetensors missing"):
        WorldModel.from_pretrained(copied)
    with pytest.raises(ValueError, match="expected a folder with config.yaml"):
        WorldModel.from_pretrained(copied / "nowhere")


def test_hub_names_fail_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="the hub did not give a model"):
        WorldModel.from_pretrained("nobody/no-such-model")


def test_corrupt_reset_clips(copied: Path, tiny_model: WorldModel) -> None:
    np.savez(copied / "episodes.npz", frames=np.zeros((2, 4, 16, 16, 3), np.uint8), actions=np.zeros((2, 9, 2)))
    with pytest.raises(ValueError, match=r"episodes.npz: expected uint8 frames"):
        bundle.load_episodes(copied, tiny_model.config.actions)
    (copied / "episodes.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="not readable as reset clips"):
        bundle.load_episodes(copied, tiny_model.config.actions)


def test_a_failed_save_leaves_the_old_model(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (copied / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        make_tiny_model().save_pretrained(copied)
    assert (copied / "model.safetensors").read_bytes() == before and not list(copied.glob(".*"))


def test_latent_statistics_stay_exact_in_half_precision(tmp_path: Path) -> None:
    exact = make_tiny_model()
    exact.autoencoder.set_latent_statistics(torch.full((4,), 0.1), torch.full((4,), 1 / 0.18215))
    folder = exact.save_pretrained(tmp_path / "world")
    half = WorldModel.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.network.stem.weight.dtype == torch.bfloat16
    for model in (half, WorldModel.from_pretrained(folder).to(torch.bfloat16)):
        assert torch.equal(model.autoencoder.latent_std, exact.autoencoder.latent_std)
        assert torch.equal(model.autoencoder.latent_mean, exact.autoencoder.latent_mean)
