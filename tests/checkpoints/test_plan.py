"""Every tensor of a published checkpoint is used exactly once or left out for a stated reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import ACTION_SPECS
from world_model.checkpoints.assemble import skeleton
from world_model.checkpoints.plan import CAPTION, Plan, PublishedOptions, check, make_plan, map_tensors, map_text
from world_model.checkpoints.published_shapes import PublishedSizes, published_shapes
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.synthetic import FULL, TINY
from world_model.conditioning.conditioner import ConditionerConfig
from world_model.network.unet import UNetConfig
from world_model.types import ActionSpec

MANIFESTS = {"vid2world_rt1": "rt1", "vid2world_csgo": "csgo", "dynamicrafter_512": "dynamicrafter"}
RT1 = ActionSpec("box", (13,), (-1.0,) * 13, (1.0,) * 13)


def on_meta(sizes: PublishedSizes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in published_shapes(sizes).items()}


@pytest.mark.parametrize("file", sorted(MANIFESTS))
def test_the_written_layout_is_the_manifests(reference: Path, file: str) -> None:
    listed = json.loads((reference / f"manifest_{file}.json").read_text())
    shapes = published_shapes(FULL[MANIFESTS[file]])
    assert shapes == {name: tuple(shape) for name, shape in listed["tensors"].items()}
    assert len(shapes) == listed["n_tensors"]
    for part, count in listed["parts"].items():
        if part != "schedule_buffers":
            assert sum(numel(shape) for name, shape in shapes.items() if name.startswith(part)) == count


def numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


@pytest.fixture(scope="module", params=sorted(FULL))
def full(request: pytest.FixtureRequest) -> tuple[str, Plan]:
    """The plan for a full-size checkpoint; the test above says that these are the manifests'."""
    model = request.param
    return model, make_plan(on_meta(FULL[model]), PublishedOptions(actions=RT1 if model == "dynamicrafter" else None))


def test_full_size_checkpoints_are_consumed_exactly(full: tuple[str, Plan]) -> None:
    model, plan = full
    shapes = published_shapes(FULL[model])
    assert plan.used.keys() | plan.unused.keys() == shapes.keys()
    assert not plan.used.keys() & plan.unused.keys()
    assert all(plan.unused.values())
    check(plan, skeleton(plan.config))  # and the model has exactly these tensors
    assert bool(plan.initialised) == (model == "dynamicrafter")
    assert plan.transfer == ("extrapolative" if model == "dynamicrafter" else None)
    kept = sum(numel(shape) for name, shape in plan.shapes.items() if name not in plan.initialised)
    text = sum(numel(shapes[name]) for name, part in plan.used.items() if part.startswith(CAPTION))
    statistics_and_caption = 2 * 4 + 77 * 1024
    assert kept == sum(numel(shapes[name]) for name in plan.used) - text + statistics_and_caption


def test_full_sizes_are_read_off_the_shapes(full: tuple[str, Plan]) -> None:
    model, plan = full
    config = plan.config
    assert config.network == UNetConfig()  # whose defaults are the published network's
    assert config.conditioner == ConditionerConfig()
    assert config.autoencoder.block_out_channels == (128, 256, 512, 512)
    assert config.autoencoder.quant_conv and config.autoencoder.mid_attention and config.autoencoder.patch_size == 1
    assert config.latent_shape == (4, 40, 64)
    expected = {"rt1": ("box", 13), "recon": ("box", 3), "csgo": ("multi_binary", 51), "dynamicrafter": ("box", 13)}
    assert (config.actions.kind, config.actions.size) == expected[model]


@pytest.mark.parametrize("model", sorted(TINY))
def test_every_element_arrives_once(model: str) -> None:
    """By value: no number is lost, doubled or put in two places on its way through the key maps."""
    tensors, start = {}, 0
    for name, shape in published_shapes(TINY[model]).items():
        count = torch.Size(shape).numel()
        tensors[name] = torch.arange(start, start + count).reshape(shape)
        start += count
    plan = make_plan(tensors, PublishedOptions(actions=RT1 if model == "dynamicrafter" else None))
    arrived = [t for name, t in map_tensors(tensors).items() if "latent_" not in name]
    arrived += map_text(tensors).values()
    expected = torch.cat([tensors[name].flatten() for name in plan.used])
    assert torch.equal(torch.cat([t.flatten() for t in arrived]).sort().values, expected.sort().values)


def test_tiny_sizes_are_read_off_the_shapes() -> None:
    sizes = replace(TINY["recon"], channel_mult=(1, 2, 2), num_res_blocks=2, attention_downsampling=(1, 4))
    plan = make_plan(on_meta(sizes), PublishedOptions(layout=PublishedLayout(frame_size=(32, 64), window=5)))
    check(plan, skeleton(plan.config))
    network = plan.config.network
    assert (network.model_channels, network.channel_mult, network.num_res_blocks) == (64, (1, 2, 2), 2)
    assert (network.attention_downsampling, network.head_channels, network.context_dim) == ((1, 4), 16, 64)
    assert (network.window, network.image_tokens_per_frame, plan.config.frame_size) == (5, 2, (32, 64))
    conditioner = plan.config.conditioner
    assert conditioner is not None
    assert (conditioner.image.image_size, conditioner.image.width, conditioner.projector.heads) == (28, 80, 1)


def test_strictly_causal_norms_are_not_sampled_as_the_reference_does() -> None:
    tensors = on_meta(TINY["rt1"])
    assert make_plan(tensors).config.sampling.mode == "reference"
    prefix = make_plan(tensors, PublishedOptions(layout=PublishedLayout(temporal_norm="prefix"))).config
    assert (prefix.network.temporal_norm, prefix.sampling.mode) == ("prefix", "standard")


@pytest.mark.parametrize(
    "spec, fits",
    [
        (RT1, True),
        (ActionSpec("box", (3,), (0.0,) * 3, (1.0,) * 3), False),
        (ActionSpec("multi_binary", (13,), dtype="int8"), False),
    ],
)
def test_a_given_action_space_must_fit_continuous_actions(spec: ActionSpec, fits: bool) -> None:
    tensors = on_meta(TINY["rt1"])
    if fits:
        assert make_plan(tensors, PublishedOptions(actions=spec)).config.actions == spec
    else:
        with pytest.raises(ValueError, match="takes 13 real numbers"):
            make_plan(tensors, PublishedOptions(actions=spec))


@pytest.mark.parametrize(
    "spec, fits",
    [
        (ActionSpec("multi_binary", (51,), dtype="int8"), True),
        (ActionSpec("multi_discrete", (3,), nvec=(13, 23, 15), start=(0, 0, 0), dtype="int64"), True),
        (ActionSpec("multi_binary", (13,), dtype="int8"), False),
        (ActionSpec("multi_discrete", (2,), nvec=(23, 15), start=(0, 0), dtype="int64"), False),
        (RT1, False),
    ],
)
def test_a_given_action_space_must_fit_a_table(spec: ActionSpec, fits: bool) -> None:
    tensors = on_meta(TINY["csgo"])
    if fits:
        plan = make_plan(tensors, PublishedOptions(actions=spec))
        check(plan, skeleton(plan.config))
    else:
        with pytest.raises(ValueError, match="51 binary values"):
            make_plan(tensors, PublishedOptions(actions=spec))


@pytest.mark.parametrize("kind", sorted(ACTION_SPECS))
def test_dynamicrafter_gets_any_action_space_and_needs_one(kind: str) -> None:
    tensors = on_meta(TINY["dynamicrafter"])
    plan = make_plan(tensors, PublishedOptions(actions=ACTION_SPECS[kind]))
    check(plan, skeleton(plan.config))
    assert all(name.startswith("network.action_embed.") for name in plan.initialised)
    with pytest.raises(ValueError, match="without actions"):
        make_plan(tensors)


def test_a_tensor_of_no_part_is_named() -> None:
    tensors = on_meta(TINY["rt1"]) | {"model_ema.decay": torch.empty(())}
    with pytest.raises(ValueError, match="1 tensors belong to no part.*model_ema.decay"):
        make_plan(tensors)


@pytest.mark.parametrize(
    "lost, message",
    [
        ("model.diffusion_model.middle_block.0.in_layers.2.weight", "1 missing.*middle_block.0.conv_in.weight"),
        ("model.diffusion_model.action_emb_proj.2.bias", "missing.*action_embed.mlp"),
        ("first_stage_model.decoder.conv_out.bias", "missing.*autoencoder.vae.decoder.conv_out.bias"),
        ("image_proj_model.latents", "latents is missing, from which sizes are read"),
        ("embedder.model.visual.conv1.weight", "visual.conv1.weight is missing"),
    ],
)
def test_a_missing_tensor_is_named(lost: str, message: str) -> None:
    tensors = on_meta(TINY["rt1"])
    del tensors[lost]
    with pytest.raises(ValueError, match=message):
        plan = make_plan(tensors)
        check(plan, skeleton(plan.config))


def test_a_tensor_of_another_shape_is_named() -> None:
    tensors = on_meta(TINY["rt1"])
    tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"] = torch.empty(64, 7, 3, 3, device="meta")
    plan = make_plan(tensors)
    with pytest.raises(ValueError, match=r"1 of another shape.*expected \(64, 64, 3, 3\), got \(64, 7, 3, 3\)"):
        check(plan, skeleton(plan.config))


def test_the_summary_counts_parts_and_reasons() -> None:
    text = make_plan(on_meta(TINY["dynamicrafter"]), PublishedOptions(actions=RT1)).summary()
    assert "network" in text and "13 tensors  unused: noise schedule" in text
    assert "6 tensors  new, to be trained" in text
