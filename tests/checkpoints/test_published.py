"""A published checkpoint, at tiny size and in every format, becomes a world model that runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.conftest import LAYOUT, WriteTiny
from tests.conftest import ACTION_SPECS
from world_model.bundle import EXACT
from world_model.checkpoints.assemble import copies, own, skeleton, without_weights
from world_model.checkpoints.detect import open_checkpoint
from world_model.checkpoints.key_map import map_network
from world_model.checkpoints.plan import SCHEDULE_BUFFERS, PublishedOptions
from world_model.checkpoints.published import load_published
from world_model.checkpoints.read import MappedTensors, read
from world_model.checkpoints.synthetic import SyntheticFormat
from world_model.checkpoints.transfer import convert_network
from world_model.model import WorldModel
from world_model.types import ActionSpec

OPTIONS = PublishedOptions(layout=LAYOUT)
FORMATS: tuple[SyntheticFormat, ...] = ("lightning", "deepspeed", "state_dict", "safetensors")


@pytest.fixture(scope="module")
def rt1(tiny_checkpoint: WriteTiny) -> WorldModel:
    return load_published(tiny_checkpoint("rt1"), OPTIONS, dtype=torch.float32)


def test_the_network_is_the_checkpoints(tiny_checkpoint: WriteTiny, rt1: WorldModel) -> None:
    prefix = "model.diffusion_model."
    tensors = load_file(tiny_checkpoint("rt1"))
    expected = map_network({k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)})
    state = rt1.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in expected.items())


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_model(tiny_checkpoint: WriteTiny, rt1: WorldModel, form: SyntheticFormat) -> None:
    other = load_published(tiny_checkpoint("rt1", form), OPTIONS, dtype=torch.float32).state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in rt1.state_dict().items())


def test_what_is_loaded_is_ready_to_use(rt1: WorldModel) -> None:
    assert not rt1.training and not any(p.requires_grad for p in rt1.parameters())
    assert not any(t.is_meta for t in (*rt1.parameters(), *rt1.buffers()))
    assert {t.dtype for t in rt1.state_dict().values()} == {torch.float32}
    kernel = rt1.network.stem.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    config = rt1.config
    assert (config.name, config.fps, config.frame_size, config.window) == ("rt1", 3.0, (32, 64), 4)
    assert (config.schedule.base_scale, config.schedule.turning_step) == (0.7, 400)
    sampling = config.sampling
    assert (sampling.num_sampling_steps, sampling.guidance_scale, sampling.eta) == (50, 2.5, 1.0)
    assert (sampling.guidance_rescale, sampling.spacing, sampling.mode) == (0.7, "trailing", "reference")
    torch.testing.assert_close(rt1.autoencoder.latent_std, torch.full((4,), 1 / 0.18215))


def test_the_caption_is_the_empty_ones(tiny_checkpoint: WriteTiny, rt1: WorldModel) -> None:
    """Its first token is the start token, which sees only itself: a block and a norm, written out here."""
    assert rt1.conditioner is not None
    t = {k.removeprefix("cond_stage_model.model."): v.float() for k, v in load_file(tiny_checkpoint("rt1")).items()}
    x = t["token_embedding.weight"][62] + t["positional_embedding"][0]  # of 64, the last two are start and end

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, x.shape, t[f"{name}.weight"], t[f"{name}.bias"])

    block = "transformer.resblocks.0"
    v = (t[f"{block}.attn.in_proj_weight"] @ norm(x, f"{block}.ln_1") + t[f"{block}.attn.in_proj_bias"])[128:]
    x = x + t[f"{block}.attn.out_proj.weight"] @ v + t[f"{block}.attn.out_proj.bias"]
    h = t[f"{block}.mlp.c_fc.weight"] @ norm(x, f"{block}.ln_2") + t[f"{block}.mlp.c_fc.bias"]
    x = x + t[f"{block}.mlp.c_proj.weight"] @ torch.nn.functional.gelu(h) + t[f"{block}.mlp.c_proj.bias"]
    torch.testing.assert_close(rt1.conditioner.caption[0], norm(x, "ln_final"), atol=1e-4, rtol=1e-4)
    assert rt1.conditioner.caption.shape == (77, 64)


@pytest.mark.parametrize("model, kind, size", [("rt1", "box", 13), ("csgo", "multi_binary", 51), ("recon", "box", 3)])
def test_a_loaded_model_steps(tiny_checkpoint: WriteTiny, model: str, kind: str, size: int) -> None:
    world = load_published(tiny_checkpoint(model), OPTIONS, dtype=torch.float32)
    assert (world.config.actions.kind, world.config.actions.size) == (kind, size)
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 2, 3, 32, 64, generator=generator) * 2 - 1
    sampling = world.with_sampling(num_sampling_steps=2)
    with torch.no_grad():
        state = world.start(frames, torch.zeros(1, 1, size), generator, sampling)
        futures = [
            world.step(state, action, torch.Generator().manual_seed(1), sampling)[1]
            for action in (torch.zeros(1, size), torch.ones(1, size))
        ]
    assert all(f.shape == (1, 4, 4, 8) and bool(f.isfinite().all()) for f in futures)
    assert float((futures[0] - futures[1]).abs().max()) > 1e-3  # the action is felt


@pytest.mark.parametrize("method", ["shift", "masked", "extrapolative"])
def test_dynamicrafter_becomes_causal(tiny_checkpoint: WriteTiny, method: str) -> None:
    path = tiny_checkpoint("dynamicrafter")
    options = PublishedOptions(actions=ACTION_SPECS["box"], transfer=method, layout=LAYOUT)  # type: ignore[arg-type]
    world = load_published(path, options, dtype=torch.float32)
    prefix = "model.diffusion_model."
    theirs = {k.removeprefix(prefix): t for k, t in read(path)[1].items() if k.startswith(prefix)}
    expected = convert_network(map_network(theirs), method)  # type: ignore[arg-type]
    state = world.network.state_dict()
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in expected.items())
    assert {name.split(".")[0] for name in state.keys() - expected.keys()} == {"action_embed"}
    assert world.config.network.causal


def test_dynamicrafters_new_action_embedding_is_always_the_same(tiny_checkpoint: WriteTiny) -> None:
    path = tiny_checkpoint("dynamicrafter")
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    options = PublishedOptions(actions=ACTION_SPECS["multi_discrete"], layout=LAYOUT)
    first, second = (load_published(path, options).network.action_embed for _ in range(2))
    assert torch.equal(torch.rand(1), before)  # the global generator is left alone
    assert first is not None and second is not None
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert float(first.table.abs().sum()) > 0  # type: ignore[operator]


def test_a_symmetric_output_convolution_keeps_its_kernel(tiny_checkpoint: WriteTiny) -> None:
    path = tiny_checkpoint("dynamicrafter")
    layout = replace(LAYOUT, output_conv="symmetric")
    world = load_published(path, PublishedOptions(actions=ACTION_SPECS["box"], layout=layout), dtype=torch.float32)
    kernel = read(path)[1]["model.diffusion_model.out.2.weight"].float()
    assert torch.equal(world.network.conv_out.weight, kernel)


def test_half_precision(tiny_checkpoint: WriteTiny, rt1: WorldModel) -> None:
    half = load_published(tiny_checkpoint("rt1"), OPTIONS)
    state = half.state_dict()
    assert {name for name, t in state.items() if t.dtype != torch.bfloat16} == set(EXACT)
    assert all(torch.equal(tensor.to(state[name].dtype), state[name]) for name, tensor in rt1.state_dict().items())


# -- bad input


def spoiled(tiny_checkpoint: WriteTiny, folder: Path, **changes: torch.Tensor | None) -> Path:
    tensors: dict[str, torch.Tensor | None] = {**load_file(tiny_checkpoint("rt1")), **changes}
    path = folder / "spoiled.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    return path


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"first_stage_model.quant_conv.bias": None},
            "spoiled.safetensors: .*1 missing.*autoencoder.vae.quant_conv.bias",
        ),
        ({"first_stage_model.quant_conv.bias": torch.ones(7)}, r"of another shape.*expected \(8,\), got \(7,\)"),
        ({"optimizer.step": torch.ones(1)}, "belong to no part of a published model.*optimizer.step"),
        ({"model.diffusion_model.novel.weight": torch.ones(1)}, "1 unknown.*network.novel.weight"),
        ({"first_stage_model.novel.weight": torch.ones(1)}, "autoencoder.*novel.weight"),
        ({"cond_stage_model.model.ln_final.bias": torch.ones(7)}, r"of another shape.*final_layer_norm.bias"),
        ({"cond_stage_model.model.ln_final.bias": None}, "1 missing.*final_layer_norm.bias"),
        ({"alphas_cumprod": torch.linspace(1, 0, 1000)}, "its noise schedule .alphas_cumprod. is another"),
        ({"scale_arr": torch.ones(1000)}, "its noise schedule .scale_arr. is another"),
    ],
)
def test_wrong_tensors_are_named(
    tiny_checkpoint: WriteTiny, tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_published(spoiled(tiny_checkpoint, tmp_path, **changes), OPTIONS)


def test_schedule_buffers_may_be_absent(tiny_checkpoint: WriteTiny, tmp_path: Path) -> None:
    path = spoiled(tiny_checkpoint, tmp_path, **dict.fromkeys(SCHEDULE_BUFFERS))
    assert load_published(path, OPTIONS).config.name == "spoiled"


def test_wrong_arguments_are_named(tiny_checkpoint: WriteTiny, tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="rt1.safetensors: actions: the checkpoint's network takes 13 real numbers"):
        load_published(
            tiny_checkpoint("rt1"), PublishedOptions(actions=ActionSpec("box", (2,), (0.0, 0.0), (1.0, 1.0)))
        )
    with pytest.raises(ValueError, match="dynamicrafter.safetensors: a model without actions"):
        load_published(tiny_checkpoint("dynamicrafter"))
    with pytest.raises(ValueError, match="transfer: expected one of shift, masked, extrapolative, got 'mirror'"):
        load_published(tiny_checkpoint("rt1"), PublishedOptions(transfer="mirror"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is a world model already"):
        load_published(tiny_bundle)


# -- memory


def test_a_skeleton_takes_no_memory_but_keeps_its_buffers(rt1: WorldModel) -> None:
    model = skeleton(rt1.config)
    assert all(p.is_meta for p in model.parameters())
    assert not any(b.is_meta for b in model.buffers())
    with without_weights():
        pass
    assert not torch.nn.Linear(1, 1).weight.is_meta  # only inside


def test_the_file_is_released_between_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {f"t{i}": torch.full((4,), float(i)) for i in range(5)}
    opened = []

    def open_file() -> dict[str, torch.Tensor]:
        opened.append(1)
        return tensors

    source = MappedTensors(open_file)
    monkeypatch.setattr("world_model.checkpoints.assemble.portions", lambda _: [["t0", "t1"], ["t2", "t3"], ["t4"]])
    arrived = dict(copies(source, torch.float64))
    assert len(opened) == 3
    assert {name: float(t[0]) for name, t in arrived.items()} == {f"t{i}": float(i) for i in range(5)}


def test_own_copies_convert_and_never_share() -> None:
    source = torch.arange(24.0).reshape(2, 3, 2, 2)
    copy = own(source, torch.float32)
    assert copy.data_ptr() != source.data_ptr() and torch.equal(copy, source)
    assert copy.is_contiguous(memory_format=torch.channels_last)
    assert own(source.long(), torch.bfloat16).dtype == torch.int64
    assert own(source.transpose(0, 1)[..., 0], torch.float32).is_contiguous()
    assert math.isnan(float(own(torch.tensor(math.nan), torch.bfloat16)))


def test_a_checkpoint_is_not_held_open(tiny_checkpoint: WriteTiny) -> None:
    """Loading reads through a mapping that ends with the loading: the model's memory is its own."""
    path = tiny_checkpoint("rt1")
    world = load_published(path, OPTIONS, dtype=torch.float16)  # the file's own type: nothing to convert
    checkpoint = open_checkpoint(path)
    addresses = {t.untyped_storage().data_ptr() for t in checkpoint.tensors.values()}
    assert not addresses & {t.untyped_storage().data_ptr() for t in world.state_dict().values()}
    maps = Path("/proc/self/maps")
    del checkpoint
    if maps.is_file():
        assert str(path.resolve()) not in maps.read_text()
