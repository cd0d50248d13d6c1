"""Key maps of autoencoder, CLIP towers and image projector against the published checkpoints' names and shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from world_model.checkpoints.autoencoder_keys import map_autoencoder
from world_model.checkpoints.clip_keys import (
    map_image_tower,
    map_text_tower,
    unused_by_image_tower,
    unused_by_text_tower,
)
from world_model.checkpoints.image_projector_keys import map_image_projector
from world_model.checkpoints.renaming import rename
from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig
from world_model.conditioning.clip import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig
from world_model.conditioning.image_projector import Resampler, ResamplerConfig

KeyMap = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
PUBLISHED_AUTOENCODER = AutoencoderConfig(4, (128, 256, 512, 512), 2, 32, True, 1, 3, True)
PARTS: dict[str, tuple[KeyMap, Callable[[], nn.Module]]] = {
    "first_stage_model.": (map_autoencoder, lambda: Autoencoder(PUBLISHED_AUTOENCODER)),
    "embedder.model.": (map_image_tower, lambda: ImageTower(ImageTowerConfig())),
    "cond_stage_model.model.": (map_text_tower, lambda: TextTower(TextTowerConfig())),
    "image_proj_model.": (map_image_projector, lambda: Resampler(ResamplerConfig())),
}
MANIFESTS = ("vid2world_rt1", "vid2world_csgo", "dynamicrafter_512")


@pytest.fixture(scope="module", params=MANIFESTS)
def manifest(request: pytest.FixtureRequest, reference: Path) -> dict[str, Tensor]:
    """Every tensor of a published checkpoint, without its values."""
    shapes = json.loads((reference / f"manifest_{request.param}.json").read_text())["tensors"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", PARTS)
def test_a_published_part_is_exactly_the_state_of_our_module(manifest: dict[str, Tensor], prefix: str) -> None:
    key_map, make = PARTS[prefix]
    mapped = key_map(part(manifest, prefix))
    with torch.device("meta"):
        module = make()
    assert shapes_of(mapped) == shapes_of(module.state_dict())


@pytest.mark.parametrize(
    ("prefix", "unused_by"),
    [
        ("first_stage_model.", lambda names: set()),
        ("embedder.model.", unused_by_image_tower),
        ("cond_stage_model.model.", unused_by_text_tower),
        ("image_proj_model.", lambda names: set()),
    ],
)
def test_every_element_is_used_once_or_named_as_unused(
    manifest: dict[str, Tensor], prefix: str, unused_by: Callable[[Mapping[str, Tensor]], set[str]]
) -> None:
    theirs = part(manifest, prefix)
    unused = unused_by(theirs)
    mapped = PARTS[prefix][0](theirs)
    statistics = {"latent_mean", "latent_std"}  # ours, not theirs
    used = sum(tensor.numel() for name, tensor in theirs.items() if name not in unused)
    assert used == sum(tensor.numel() for name, tensor in mapped.items() if name not in statistics)


def test_what_is_unused_is_what_comes_after_the_tokens(manifest: dict[str, Tensor]) -> None:
    text = unused_by_text_tower(part(manifest, "cond_stage_model.model."))
    assert {name for name in text if "resblocks" not in name} == {"logit_scale", "text_projection"}
    assert {name.split(".")[2] for name in text if "resblocks" in name} == {"23"}
    image = unused_by_image_tower(part(manifest, "embedder.model."))
    assert not any("resblocks" in name or "ln_pre" in name for name in image)
    assert {name for name in image if name.startswith("visual.")} == {
        "visual.proj",
        "visual.ln_post.weight",
        "visual.ln_post.bias",
    }


def test_latents_get_the_published_scale(manifest: dict[str, Tensor]) -> None:
    mapped = map_autoencoder(part(manifest, "first_stage_model."))
    assert torch.equal(mapped["latent_mean"], torch.zeros(4))
    torch.testing.assert_close(1 / mapped["latent_std"], torch.full((4,), 0.18215))


def test_queries_keys_and_values_are_split_in_this_order() -> None:
    block = "visual.transformer.resblocks.0.attn."
    mapped = map_image_tower({f"{block}in_proj_bias": torch.arange(6), f"{block}in_proj_weight": torch.eye(6)[:, :2]})
    ours = "transformer.encoder.layers.0.self_attn."
    for number, part_name in enumerate("qkv"):
        rows = slice(2 * number, 2 * number + 2)
        assert torch.equal(mapped[f"{ours}{part_name}_proj.bias"], torch.arange(6)[rows])
        assert torch.equal(mapped[f"{ours}{part_name}_proj.weight"], torch.eye(6)[rows, :2])


@pytest.mark.parametrize("key_map", [map_autoencoder, map_image_tower, map_text_tower, map_image_projector])
def test_foreign_names_are_told(key_map: KeyMap) -> None:
    names = ("decoder.conv_in.weight", "some.layer.weight", "model.visual.conv1.weight")
    with pytest.raises(ValueError, match="tensors have unknown names, first .*prefix"):
        key_map({name: torch.empty(1, 4, 1, 1) for name in names})


def test_an_autoencoder_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="expected decoder.conv_in.weight among its 1 tensors"):
        map_autoencoder({"first_stage_model.decoder.conv_in.weight": torch.empty(1)})


def test_no_tensor_is_overwritten_by_another() -> None:
    with pytest.raises(ValueError, match="a part: two tensors map onto x, the second is b"):
        rename({"a": torch.empty(1), "b": torch.empty(1)}, ((r"[ab]", "x"),), "a part")


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    assert found, f"nothing under {prefix}"
    return found


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
