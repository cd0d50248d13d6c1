"""The network, the schedule and the loss against golden numbers of the reference implementation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from world_model.checkpoints.key_map import map_network
from world_model.diffusion.loss import denoising_error
from world_model.diffusion.parameterization import add_noise, v_target
from world_model.diffusion.samplers import ddim_table, sampling_levels
from world_model.diffusion.schedule import Schedule, ScheduleConfig
from world_model.network.unet import CausalUNet, UNetConfig
from world_model.types import ActionSpec, Conditioning, incoming_actions

# A norm with the wrong eps moves the output by only 6e-5. Ours is computed in float64, so that of both roundings only
# the reference's own counts, up to 1.7e-5: in float32 some processors are 2.3e-5 away.
TOLERANCE = 2e-5
REFERENCE_SCHEDULE = ScheduleConfig(base_scale=0.7, turning_step=400)


class Golden:
    """One fixture file: arrays as tensors, real numbers in float64, clips with time in front of channels."""

    def __init__(self, folder: Path, name: str) -> None:
        self.arrays = np.load(folder / f"{name}.npz")
        self.notes: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())

    def __getitem__(self, key: str) -> Tensor:
        tensor = torch.from_numpy(self.arrays[key])
        tensor = tensor.double() if tensor.is_floating_point() else tensor
        return tensor.transpose(1, 2) if tensor.ndim == 5 else tensor

    def weights(self) -> dict[str, Tensor]:
        """Raw tensors, in their own layout."""
        found = (key for key in self.arrays.files if key.startswith("weights."))
        return {key.removeprefix("weights."): torch.from_numpy(self.arrays[key]) for key in found}

    def get(self, key: str) -> Tensor | None:
        return self[key] if key in self.arrays.files else None


def network(
    config: dict[str, Any], weights: dict[str, Tensor], actions: ActionSpec | None, **changes: Any
) -> CausalUNet:
    ours = UNetConfig(
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        model_channels=config["model_channels"],
        channel_mult=tuple(config["channel_mult"]),
        num_res_blocks=config["num_res_blocks"],
        attention_downsampling=tuple(config["attention_resolutions"]),
        head_channels=config["num_head_channels"],
        context_dim=config["context_dim"],
        window=config["temporal_length"],
        causal=config["use_causal_attention"],
        **changes,
    )
    net = CausalUNet(ours, actions).eval().requires_grad_(False)
    net.load_state_dict(map_network(weights))
    return net.double()


def unbounded_box(size: int) -> ActionSpec:
    return ActionSpec("box", (size,), (-math.inf,) * size, (math.inf,) * size)


def run(net: CausalUNet, golden: Golden, case: str, x: str = "x", **changes: Any) -> Tensor:
    latents, levels = golden[f"{case}.{x}"], golden[f"{case}.timesteps"]
    if levels.ndim == 1:
        levels = levels[:, None].expand(latents.shape[:2])
    values = {
        "actions": golden.get(f"{case}.action"),
        "action_mask": golden.get(f"{case}.action_mask"),
        "context": golden[f"{case}.context"],
        "fps": golden[f"{case}.fs"],
    }
    return net(latents, levels, Conditioning(**{**values, **changes}))[0]


def assert_same(ours: Tensor, golden: Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.shape == golden.shape
    assert float((ours - golden).abs().max()) <= tolerance


@pytest.fixture(scope="module")
def small(reference: Path) -> Golden:
    return Golden(reference, "unet_causal_small")


@pytest.mark.parametrize("case", ["caseA", "caseB"])
@pytest.mark.parametrize("norm, output", [("clip", "output"), ("frame", "output_per_frame_norms")])
def test_causal_network(small: Golden, case: str, norm: str, output: str) -> None:
    net = network(small.notes["config"], small.weights(), unbounded_box(7), temporal_norm=norm)
    assert_same(run(net, small, case), small[f"{case}.{output}"])


def test_without_mask_frame_rate_or_per_frame_levels(small: Golden) -> None:
    net = network(small.notes["config"], small.weights(), unbounded_box(7))
    assert_same(run(net, small, "caseA", action_mask=None), small["caseA.output_no_action_mask"])
    assert_same(run(net, small, "caseA", fps=None), small["caseA.output_fs_none"])
    latents = small["caseA.x"]
    cond = Conditioning(
        small["caseA.action"], small["caseA.action_mask"], small["caseA.context"], fps=small["caseA.fs"]
    )
    levels = small["caseA.timesteps"][:, :1].expand(latents.shape[:2])
    assert_same(net(latents, levels, cond)[0], small["caseA.output_timesteps1d"])


@pytest.mark.parametrize("case", ["caseA", "caseB"])
def test_multi_hot_actions(reference: Path, small: Golden, case: str) -> None:
    discrete = Golden(reference, "unet_causal_discrete")
    shared = {key: value for key, value in small.weights().items() if not key.startswith("action_emb")}
    net = network(
        discrete.notes["config"], {**shared, **discrete.weights()}, ActionSpec("multi_binary", (51,), dtype="int8")
    )
    assert_same(run(net, discrete, case), discrete[f"{case}.output"])


def test_bidirectional_network(reference: Path) -> None:
    golden = Golden(reference, "unet_bidirectional")
    net = network(golden.notes["config_bidirectional"], golden.weights(), None, output_conv="symmetric")
    assert_same(run(net, golden, "bi"), golden["bi.output"])
    latents = golden["bi.x_T3"]
    levels = golden["bi.timesteps"][:, None].expand(latents.shape[:2])
    cond = Conditioning(context=golden["bi.context"], fps=golden["bi.fs"])
    assert_same(net(latents, levels, cond)[0], golden["bi.output_T3"])


@pytest.mark.parametrize("case", ["caseA", "caseB"])
def test_float32_differs_by_rounding_alone(small: Golden, case: str) -> None:
    net = network(small.notes["config"], small.weights(), unbounded_box(7)).float()
    cond = Conditioning(
        small[f"{case}.action"].float(),
        None if small.get(f"{case}.action_mask") is None else small[f"{case}.action_mask"].float(),
        small[f"{case}.context"].float(),
        fps=small[f"{case}.fs"],
    )
    ours = net(small[f"{case}.x"].float(), small[f"{case}.timesteps"], cond)[0]
    assert ours.dtype is torch.float32
    assert_same(ours, small[f"{case}.output"], 2 * TOLERANCE)


def test_a_wrong_eps_would_be_noticed(small: Golden) -> None:
    net = network(small.notes["config"], small.weights(), unbounded_box(7))
    for module in net.modules():
        if isinstance(module, torch.nn.GroupNorm) and module.eps == 1e-6:
            module.eps = 1e-5
    assert float((run(net, small, "caseA") - small["caseA.output"]).abs().max()) > TOLERANCE


def test_schedule(reference: Path) -> None:
    golden = Golden(reference, "schedule")
    schedule = Schedule(REFERENCE_SCHEDULE)
    np.testing.assert_allclose(schedule.betas, golden.arrays["betas_f64"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(schedule.alphas_cumprod, golden.arrays["alphas_cumprod_f64"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(schedule.alphas_cumprod, golden.arrays["buffer.alphas_cumprod"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(schedule.scale, golden.arrays["buffer.scale_arr"][:1000], atol=1e-6, rtol=0)
    assert schedule.alphas_cumprod[-1] == 0


@pytest.mark.parametrize("steps", [5, 10, 50])
@pytest.mark.parametrize("spacing", ["uniform", "trailing"])
@pytest.mark.parametrize("eta", [0, 1])
def test_ddim_tables(reference: Path, steps: int, spacing: Any, eta: int) -> None:
    golden = Golden(reference, "schedule").arrays
    table = ddim_table(Schedule(REFERENCE_SCHEDULE), steps, spacing, float(eta), full_denoising=False)
    prefix = f"{'uniform_trailing' if spacing == 'trailing' else 'uniform'}.{steps}"
    assert table.levels == tuple(golden[f"{prefix}.timesteps"])
    ratio = golden[f"{prefix}.scale_arr_prev"] / golden[f"{prefix}.scale_arr"]
    for ours, name in (
        (table.alphas, "alphas"),
        (table.alphas_prev, "alphas_prev"),
        (table.sigmas, f"sigmas_eta{eta}"),
    ):
        np.testing.assert_allclose(ours, golden[f"{prefix}.{name}"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(table.scale_ratio, ratio, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [3, 9, 27])
def test_step_counts_that_the_reference_crashes_on_are_named(steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_sampling_steps={steps}"):
        sampling_levels(steps, "uniform")
    assert len(sampling_levels(steps, "trailing")) == steps


def test_training_loss_and_gradients(reference: Path, small: Golden) -> None:
    golden = Golden(reference, "train_loss")
    net = network(small.notes["config"], small.weights(), unbounded_box(7)).requires_grad_(True)
    z, levels, noise = golden["z"], golden["t"], golden["noise"]
    aligned, _ = incoming_actions(golden["action"][:, :-1])  # the reference drops the last action itself
    cond = Conditioning(
        actions=aligned,
        action_mask=golden["action_mask"],
        context=golden["context"],
        concat=z[:, :1].expand_as(z),
        fps=golden["fs"],
    )
    schedule = Schedule(REFERENCE_SCHEDULE)
    scaled = z * schedule.rescale(levels)
    signal = schedule.signal(levels)
    assert_same(scaled, golden["x_start_scaled"], 2e-6)
    assert_same(add_noise(scaled, noise, signal), golden["x_noisy"], 2e-6)
    assert_same(v_target(scaled, noise, signal), golden["v_target"], 2e-6)
    error = denoising_error(net, schedule, z, levels, noise, cond)
    loss = error.mean()
    assert_same(error, golden["loss_per_frame"], 1e-5)
    assert abs(float(loss) - float(golden.arrays["loss"])) <= 1e-5

    loss.backward()
    theirs = {key: torch.from_numpy(golden.arrays[f"grad.{key}"]) for key in golden.notes["grads"]}
    names = dict(zip(small.weights(), map_network(small.weights()), strict=True))
    expected = map_network({**small.weights(), **theirs})
    for name in (names[key] for key in theirs):
        ours = net.get_parameter(name).grad
        assert ours is not None
        assert_same(ours, expected[name], 1e-5 * max(1.0, float(expected[name].abs().max())))
