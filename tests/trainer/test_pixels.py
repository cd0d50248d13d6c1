"""Clips of pixels on their way to the loss: augmented, letterboxed, encoded, and what the first frame tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from tests.data.writers import WRITERS
from tests.trainer.conftest import run_config, world_config
from tests.trainer.test_autoencoder_training import curve
from world_model.data import Augmentation, DatasetConfig, Letterbox, open_dataset
from world_model.model import WorldModel
from world_model.trainer import train_world_model
from world_model.trainer.pixels import PixelClipDataModule, PixelEncoder
from world_model.trainer.recipe import NO_AUGMENTATION


class FakeWorld:
    """Latents are the pixels themselves (noise is added when drawn), context tokens the first frame's mean."""

    def __init__(self, conditioned: bool = True) -> None:
        self.conditioner = (lambda frame: frame.mean((2, 3))[:, None]) if conditioned else None

    def encode(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return frames if generator is None else frames + torch.randn(frames.shape, generator=generator)


def encoder(**changes: Any) -> PixelEncoder:
    settings: dict[str, Any] = {"letterbox": None, "augmentation": NO_AUGMENTATION}
    return PixelEncoder(cast(WorldModel, FakeWorld()), **{**settings, **changes})


def clips(count: int, frames: int = 2, height: int = 8, width: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(40, 220, (frames, height, width, 3), generator=generator).byte() for _ in range(count)]


def test_one_image_in_ten_is_grey_to_the_conditioner_in_training() -> None:
    latents, scene = encoder(image_dropout=0.1)(clips(2000), torch.Generator().manual_seed(0), training=True)
    assert scene is not None
    grey = (scene.context == 0).all(-1).squeeze()
    assert 0.08 < grey.float().mean() < 0.12
    assert torch.equal(scene.concat, latents[:, 0]) and not (latents[:, 0] == 0).flatten(1).all(1).any()
    kept = latents[~grey][:, 0].mean((2, 3))
    torch.testing.assert_close(scene.context[~grey][:, 0], kept)
    _, seen = encoder(image_dropout=0.1)(clips(200), torch.Generator().manual_seed(0), training=False)
    assert seen is not None and not (seen.context == 0).all(-1).any()


def test_augmentation_stays_inside_the_bars_and_out_of_validation() -> None:
    box, strong = Letterbox(8, 16), Augmentation(jitter=0.5, hue=0.2, shift=2)
    source = clips(3)
    encode = encoder(letterbox=box, augmentation=strong)
    plain, _ = encode(source, torch.Generator().manual_seed(0), training=False)
    varied, _ = encode(source, torch.Generator().manual_seed(0), training=True)
    for latents in (plain, varied):
        assert latents.shape == (3, 2, 3, 8, 16)
        assert bool((latents[..., :4] == -1).all()) and bool((latents[..., 12:] == -1).all())
    torch.testing.assert_close(plain[..., 4:12], torch.stack(source).permute(0, 1, 4, 2, 3) / 127.5 - 1)
    assert all(float((varied - plain)[clip].abs().mean()) > 0.05 for clip in range(3))
    again, _ = encode(source, torch.Generator().manual_seed(0), training=True)
    assert torch.equal(again, varied)
    assert not torch.equal(encode(source, torch.Generator().manual_seed(1), training=True)[0], varied)


def test_latents_are_the_posteriors_mean_or_drawn_from_it() -> None:
    source, generator = clips(1), torch.Generator().manual_seed(0)
    mean, _ = encoder()(source, generator, training=True)
    drawn, _ = encoder(posterior="sample")(source, generator, training=True)
    torch.testing.assert_close(mean, torch.stack(source).permute(0, 1, 4, 2, 3) / 127.5 - 1)
    assert 0.8 < float((drawn - mean).std()) < 1.2


def test_episodes_of_several_sizes_share_a_batch() -> None:
    sizes = [*clips(1, height=8, width=8), *clips(1, height=4, width=12)]
    latents, _ = encoder(letterbox=Letterbox(8, 16))(sizes, torch.Generator(), training=True)
    assert latents.shape == (2, 2, 3, 8, 16)


def test_a_model_without_conditioner_has_no_scene() -> None:
    encode = PixelEncoder(cast(WorldModel, FakeWorld(conditioned=False)), None, NO_AUGMENTATION)
    assert encode(clips(2), torch.Generator(), training=True)[1] is None


def test_batches_are_as_recorded_and_the_same_from_several_processes(tmp_path: Path) -> None:
    folder = WRITERS["rt1"](tmp_path / "rt1", [6, 7, 6, 6])
    recorded = open_dataset(DatasetConfig(str(folder), frame_size=(8, 8)))
    run = run_config(tmp_path, batch_size=2, validation_batches=2)
    batches = []
    for workers in (0, 1):
        data = PixelClipDataModule(recorded, 4, "error", run, workers)
        data.setup("fit")
        batches.append(list(data.val_dataloader()))
    for alone, together in zip(*batches, strict=True):
        batch: Any = alone
        assert [clip.shape for clip in batch["frames"]] == [(4, 16, 32, 3)] * len(batch["actions"])
        assert batch["actions"].shape[1:] == (3, 13)
        for one, other in zip(batch["frames"], cast(Any, together)["frames"], strict=True):
            assert torch.equal(one, other)


def test_pixels_and_cached_latents_train_alike(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    cached = world_config(dataset, autoencoder, tmp_path / "cached", max_steps=3, validate_every=3)
    train_world_model(cached)
    pixels = replace(cached, frames="pixels", run=replace(cached.run, folder=str(tmp_path / "pixels")))
    bundle = train_world_model(pixels)
    assert curve(tmp_path / "pixels") == pytest.approx(curve(tmp_path / "cached"), rel=1e-2)  # cached in half precision
    assert isinstance(WorldModel.from_pretrained(bundle), nn.Module)
    assert not (tmp_path / "pixels" / "latents").exists()


def test_augmentation_needs_pixels(dataset: Path, autoencoder: Path, tmp_path: Path) -> None:
    config = world_config(dataset, autoencoder, tmp_path)
    with pytest.raises(ValueError, match=r"augmentation: expected none .* use frames=pixels"):
        replace(config, augmentation=Augmentation())
    with pytest.raises(ValueError, match="frames: expected cached_latents or pixels, got 'films'"):
        replace(config, frames="films")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data_workers: expected 0 or more, got -1"):
        replace(config, data_workers=-1)
