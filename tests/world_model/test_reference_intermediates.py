"""What happens on the way to the golden results: inside the network, inside a denoising step, in the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.world_model.test_reference import (
    REFERENCE_SCHEDULE,
    TOLERANCE,
    Golden,
    assert_same,
    network,
    run,
    unbounded_box,
)
from tests.world_model.test_reference_sampling import (
    HISTORY_LEVEL,
    RUNS,
    branches,
    make_model,
    recorded_noise,
    scene_of,
    settings,
)
from world_model.diffusion.parameterization import add_noise, clean_from_v
from world_model.diffusion.samplers import ddim_table
from world_model.diffusion.schedule import Schedule
from world_model.model import SamplingConfig, WorldModel
from world_model.network.transformer import TemporalTransformer
from world_model.types import Conditioning, incoming_actions


def test_every_layer_of_the_network(reference: Path) -> None:
    """Of each layer the golden file keeps a corner of the first clip's features."""
    golden = Golden(reference, "unet_causal_small")
    net = network(golden.notes["config"], golden.weights(), unbounded_box(7))
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            corner = output[:4, :, :2, :2]  # [(b f) c h w]
            found[name] = corner.transpose(0, 1) if isinstance(module, TemporalTransformer) else corner

        module.register_forward_hook(hook)

    layers: dict[str, nn.Module] = {"input_blocks.0.0": net.stem}
    assert net.init_attention is not None
    layers["init_attn.0"] = net.init_attention
    # The reference counts the stem as its first block.
    for part, first in (("input_blocks", 1), ("output_blocks", 0)):
        for number, block in enumerate(net.get_submodule(part).children(), start=first):
            layers |= {f"{part}.{number}.{i}": layer for i, layer in enumerate(block.children())}
    layers |= {f"middle_block.{i}": layer for i, layer in enumerate(net.middle_block)}
    for name, layer in layers.items():
        keep(name, layer)
    embed = net._embed

    def embedded(*given: Any) -> Tensor:
        found["emb"] = embed(*given)
        return found["emb"]

    net._embed = embedded  # type: ignore[assignment,method-assign]
    run(net, golden, "caseA")
    expected = {key.removeprefix("caseA.trace."): key for key in golden.arrays.files if ".trace." in key}
    assert found.keys() == expected.keys()
    for name, key in expected.items():
        corner = torch.from_numpy(golden.arrays[key])
        assert_same(found[name], corner, TOLERANCE * max(1.0, float(corner.abs().max())))


GUIDED = 5e-5  # guidance enlarges the rounding of the recorded float32 numbers


def in_double(reference: Path, sampling: SamplingConfig) -> tuple[WorldModel, list[Tensor]]:
    """The model, and a list that collects what its network says."""
    model, said = make_model(reference, sampling), []
    model.network.double()
    model.network.register_forward_hook(lambda module, given, output: said.append(output[0].float()))
    return model, said


@pytest.mark.parametrize("name", RUNS)
def test_inside_the_steps_of_the_first_imagined_frame(reference: Path, name: str) -> None:
    """What the network is given, what both branches say, and the clean frame that follows from it."""
    golden = Golden(reference, "ddim_ar")
    sampling, frame = settings(golden, name)
    model, said = in_double(reference, sampling)
    table = model._table(sampling)
    sampler = model._window_sampler(table, sampling)
    cond, dropped = branches(scene_of(golden, name), golden["inputs.action"][:, :frame])
    assert set(golden.arrays["inputs.fs"]) == {model.network.config.default_fps}
    clean, noise = golden["inputs.z"], recorded_noise(golden, name)
    first, newest = noise[0][:, : frame - 1], noise[1]  # that of the newest context frame was drawn twice
    signal = model.schedule.signal(torch.tensor([[HISTORY_LEVEL]]))
    history = add_noise(clean[:, :frame], torch.cat([first, newest], dim=1), signal)
    for i, step in enumerate(reversed(range(len(table)))):
        key = f"{name}.frame{frame}.step{i}"
        given, levels = golden[f"{key}.x_in"], torch.from_numpy(golden.arrays[f"{key}.t"])
        assert_same(given[:, :frame], history)
        assert levels.tolist() == [[HISTORY_LEVEL] * frame + [table.levels[step]]] * 2
        x = given.double()
        v = sampler._guided(x, levels, cond, dropped)
        assert_same(said[-1], torch.cat([golden[f"{key}.v_cond"], golden[f"{key}.v_uncond"]]))
        imagined = clean_from_v(x, v, model.schedule.signal(levels))[:, -1:] * float(table.scale_ratio[step])
        assert_same(imagined.float(), golden[f"{key}.pred_x0"][:, -1:], GUIDED)


@pytest.mark.parametrize("name, eta", [("nar_eta0", 0.0), ("nar_eta1", 1.0)])
def test_inside_the_steps_of_all_frames_together(reference: Path, name: str, eta: float) -> None:
    golden = Golden(reference, "ddim_nar")
    model, said = in_double(reference, SamplingConfig(5, 2.5, 0.7, eta, mode="reference"))
    table = model._table(model.config.sampling)
    sampler = model._window_sampler(table, model.config.sampling)
    cond, _ = branches(scene_of(golden, name), golden["inputs.action"][:, :-1])
    assert cond.action_mask is not None
    unknown = Conditioning(cond.actions, torch.zeros_like(cond.action_mask), cond.context, cond.concat)
    assert set(golden.arrays["inputs.fs"]) == {model.network.config.default_fps}
    x = golden["inputs.x_T"].double()
    for i, step in enumerate(reversed(range(len(table)))):
        key, levels = f"{name}.step{i}", torch.full((2, 4), table.levels[step])
        v = sampler._guided(x, levels, cond, unknown)
        assert_same(said[-1], torch.cat([golden[f"{key}.v_cond"], golden[f"{key}.v_uncond"]]))
        clean = clean_from_v(x, v, model.schedule.signal(levels)) * float(table.scale_ratio[step])
        assert_same(clean.float(), golden[f"{key}.pred_x0"], GUIDED)
        x = golden[f"{key}.x_prev"].double()


def test_the_prediction_of_a_training_step(reference: Path) -> None:
    golden = Golden(reference, "train_loss")
    small = Golden(reference, "unet_causal_small")
    net = network(small.notes["config"], small.weights(), unbounded_box(7))
    z, (aligned, _) = golden["z"], incoming_actions(golden["action"][:, :-1])
    cond = Conditioning(aligned, golden["action_mask"], golden["context"], z[:, :1].expand_as(z), golden["fs"])
    assert_same(net(golden["x_noisy"], golden["t"], cond)[0], golden["v_pred"])


def test_what_else_the_reference_keeps_of_the_schedule(reference: Path) -> None:
    """Its other tables follow from ours, but for three that hold placeholders where v is predicted."""
    golden = Golden(reference, "schedule").arrays
    ours = Schedule(REFERENCE_SCHEDULE)
    signal, betas = ours.alphas_cumprod, ours.betas
    before = np.concatenate([[1.0], signal[:-1]])
    variance = betas * (1 - before) / (1 - signal)
    with np.errstate(divide="ignore"):
        expected = {
            "betas": betas,
            "alphas_cumprod_prev": before,
            "sqrt_alphas_cumprod": np.sqrt(signal),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - signal),
            "log_one_minus_alphas_cumprod": np.log(1 - signal),
            "posterior_variance": variance,
            "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
            "posterior_mean_coef1": betas * np.sqrt(before) / (1 - signal),
            "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - signal),
        }
    for name, table in expected.items():
        np.testing.assert_allclose(golden[f"buffer.{name}"], table, atol=1e-6, rtol=1e-5, err_msg=name)
    plain = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(golden["betas_before_rescale_f64"], plain, atol=1e-12)
    np.testing.assert_allclose(golden["alphas_cumprod_before_rescale_f64"], np.cumprod(1 - plain), atol=1e-12)
    for spacing, prefix in (("uniform", "uniform"), ("trailing", "uniform_trailing")):
        for steps in (5, 10, 50):
            table = ddim_table(ours, steps, spacing, 0.0, full_denoising=False)
            found = golden[f"{prefix}.{steps}.sqrt_one_minus_alphas"]
            np.testing.assert_allclose(found, np.sqrt(1 - table.alphas), atol=1e-6)
