"""The autoencoder as a container: shapes, statistics, files. Whether it learns is tested with its trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conditioning.golden import Golden, assert_same
from world_model.checkpoints.autoencoder_keys import map_autoencoder
from world_model.conditioning import Autoencoder, AutoencoderConfig
from world_model.model import WorldModel
from world_model.schema import build

TINY = AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4)


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(TINY).eval().requires_grad_(False)


def test_shapes_there_and_back(model: Autoencoder) -> None:
    frames = torch.rand(3, 3, 16, 24) * 2 - 1
    latents = model.encode(frames)
    assert latents.shape == (3, 4, 4, 6)
    assert model.decode(latents).shape == frames.shape
    assert AutoencoderConfig(block_out_channels=(8, 8, 8), patch_size=1).downsample == 4


def test_default_size_fits_the_shipped_model() -> None:
    config = AutoencoderConfig()
    assert config.downsample == 4
    assert sum(p.numel() for p in Autoencoder(config).parameters()) < 450_000


def test_a_generator_samples_the_posterior_repeatably(model: Autoencoder) -> None:
    frames = torch.rand(2, 3, 16, 16)
    mean = model.encode(frames)
    drawn = [model.encode(frames, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*drawn) and not torch.equal(drawn[0], mean)
    assert torch.equal(model.encode(frames), mean)


def test_statistics_normalise_and_cancel(model: Autoencoder) -> None:
    frames = torch.rand(8, 3, 16, 16) * 2 - 1
    raw = model.posterior(frames).mode()
    expected = model.decode_raw(raw)
    model.set_latent_statistics(raw.mean(dim=(0, 2, 3)), raw.std(dim=(0, 2, 3)))
    latents = model.encode(frames)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.decode(latents), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(3, 16, 16), r"frames: expected \[n 3 h w\], got \[3, 16, 16\]"),
        (torch.zeros(1, 16, 16, 3), r"expected \[n 3 h w\], got \[1, 16, 16, 3\].*channels before"),
        (torch.zeros(1, 3, 18, 16), r"divisible by 4, got \(18, 16\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), r"floats in \[-1, 1\], got torch.uint8"),
    ],
)
def test_wrong_frames_are_named(model: Autoencoder, frames: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.encode(frames)


def test_wrong_latents_and_configs_are_named(model: Autoencoder) -> None:
    with pytest.raises(ValueError, match=r"latents: expected \[n 4 h w\], got \[2, 5, 4, 4, 4\]; fold time"):
        model.decode(torch.zeros(2, 5, 4, 4, 4))
    with pytest.raises(ValueError, match="multiples of norm_num_groups=8, got"):
        AutoencoderConfig(block_out_channels=(8, 12))
    with pytest.raises(ValueError, match="patch_size: expected 1 or more, got 0"):
        AutoencoderConfig(patch_size=0)


def test_saving_and_loading(model: Autoencoder, tmp_path: Path) -> None:
    model.set_latent_statistics(torch.arange(4.0), torch.arange(1.0, 5.0))
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["autoencoder.json", "autoencoder.safetensors"]
    loaded = Autoencoder.from_pretrained(tmp_path)
    assert loaded.config == TINY and not loaded.training
    frames = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.encode(frames), model.encode(frames))


def test_missing_truncated_and_foreign_files(model: Autoencoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"autoencoder.json is missing; train one"):
        Autoencoder.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    weights = tmp_path / "autoencoder.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"autoencoder.safetensors: not a readable safetensors file"):
        Autoencoder.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "autoencoder.json").write_text('{"block_out_channels": [16, 16], "norm_num_groups": 4}')
    with pytest.raises(ValueError, match=r"weights do not fit .* wrong shapes .*expected \[16.* got \[8"):
        Autoencoder.from_pretrained(tmp_path)
    (tmp_path / "autoencoder.json").write_text('{"block_out_chanels": [16, 16]}')
    with pytest.raises(ValueError, match=r"autoencoder.json: .*block_out_chanels"):
        Autoencoder.from_pretrained(tmp_path)


def test_the_autoencoder_of_a_world_model_can_be_used_again(tiny_bundle: Path) -> None:
    again = Autoencoder.from_pretrained(tiny_bundle)
    frames = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = WorldModel.from_pretrained(tiny_bundle)
    assert torch.equal(again.encode(frames), whole.encode(frames[None])[0])


def test_published_layout_matches_the_reference(reference: Path) -> None:
    golden = Golden(reference, "autoencoder")
    layout = golden.notes["ddconfig"]
    widths = tuple(layout["ch"] * factor for factor in layout["ch_mult"])
    model = Autoencoder(AutoencoderConfig(4, widths, layout["num_res_blocks"], 32, True, 1, 3, quant_conv=True))
    model.load_state_dict(map_autoencoder(golden.weights))
    model.eval().requires_grad_(False).double()  # so that only the golden numbers' own rounding is left, on any machine
    image, latents = golden["image"].double(), golden["z_scaled_sample"].double()
    posterior = model.posterior(image)
    assert_same(posterior.parameters, golden["moments"], 1e-5)
    assert_same(posterior.mean, golden["mean"], 1e-5)
    assert_same(posterior.logvar, golden["logvar"], 1e-5)
    assert_same(model.encode(image, noise=golden["sample_noise"]), golden["z_scaled_sample"], 1e-5)
    assert_same(model.decode_raw(golden["mean"].double()), golden["decoded_mean"], 1e-5)
    assert_same(model.decode(latents), golden["decoded_z_scaled_sample"], 1e-5)


def test_given_noise_is_a_draw_from_the_posterior(model: Autoencoder) -> None:
    frames = torch.rand(2, 3, 16, 16)
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    drawn = model.encode(frames, torch.Generator().manual_seed(3))
    torch.testing.assert_close(model.encode(frames, noise=noise), drawn, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.encode(frames, noise=torch.zeros_like(noise)), model.encode(frames))
    with pytest.raises(ValueError, match=r"noise: expected \[2, 4, 4, 4\], got \[1, 4, 4, 4\]"):
        model.encode(frames, noise=noise[:1])


def test_configs_written_before_there_were_quant_convs_still_load() -> None:
    values = {"latent_channels": 4, "block_out_channels": [8, 8], "norm_num_groups": 4, "patch_size": 2}
    old = build(AutoencoderConfig, values)
    assert not old.quant_conv
    assert not any("quant_conv" in name for name in Autoencoder(old).state_dict())
