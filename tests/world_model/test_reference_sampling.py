"""Sampling against golden numbers of the reference implementation, fed with its recorded noise.

Each denoising step is compared on its own at 2e-5, in float64, starting where the recorded step started. A whole run
chains 5 to 15 network passes, each amplified by guidance: the rounding of the recorded float32 numbers alone (8e-6 a
pass) grows to 6e-3 there, so whole runs are compared at 2e-2, which every mistake that was tried exceeds tenfold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.world_model.test_reference import REFERENCE_SCHEDULE, Golden, assert_same, network, unbounded_box
from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.diffusion.parameterization import add_noise
from world_model.diffusion.samplers import sampling_levels
from world_model.model import SamplingConfig, WorldModel, WorldModelConfig
from world_model.types import Conditioning, Scene, incoming_actions

SAMPLING = SamplingConfig(5, guidance_scale=2.5, guidance_rescale=0.7, mode="reference")
HISTORY_LEVEL = 399
RUNS = ["cond1_eta0", "cond1_eta1", "cond2_eta0", "cond2_eta1", "cond1_eta1_ucctx"]
WHOLE_RUN = 2e-2


def make_model(reference: Path, sampling: SamplingConfig = SAMPLING) -> WorldModel:
    small = Golden(reference, "unet_causal_small")
    net = network(small.notes["config"], small.weights(), unbounded_box(7))
    config = WorldModelConfig(
        "golden",
        unbounded_box(7),
        frame_size=(16, 16),
        network=net.config,
        autoencoder=AutoencoderConfig(block_out_channels=(8,), patch_size=2),
        schedule=REFERENCE_SCHEDULE,
        sampling=sampling,
    )
    model = WorldModel(config)
    model.network = net
    return model.eval().requires_grad_(False)


def recorded_noise(golden: Golden, run: str) -> list[Tensor]:
    return [golden[key] for key in sorted(golden.arrays.files) if key.startswith(f"{run}.noise.")]


def scene_of(golden: Golden, run: str) -> Scene:
    dropped = golden["inputs.uncond_context"] if run.endswith("ucctx") else None
    return Scene(golden["inputs.z"][:, 0], golden["inputs.context"], dropped)


def branches(scene: Scene, actions: Tensor) -> tuple[Conditioning, Conditioning]:
    """With and without the newest action, for a prefix of frames, in float64."""
    aligned, mask = incoming_actions(actions.double())
    concat = scene.concat.double()[:, None].expand(-1, mask.shape[1], -1, -1, -1)
    cond = Conditioning(aligned, torch.ones_like(mask).double(), scene.context.double(), concat)
    newest_dropped = torch.ones_like(mask).double()
    newest_dropped[:, -1] = 0
    context = scene.context if scene.dropped_context is None else scene.dropped_context
    return cond, replace(cond, action_mask=newest_dropped, context=context.double())


def settings(golden: Golden, run: str) -> tuple[SamplingConfig, int]:
    facts = golden.notes["runs"][run]
    return replace(SAMPLING, eta=facts["eta"]), facts["cond_frame"]


@pytest.mark.parametrize("run", RUNS)
def test_every_step_of_frame_by_frame_sampling(reference: Path, run: str) -> None:
    golden = Golden(reference, "ddim_ar")
    sampling, context = settings(golden, run)
    model = make_model(reference, sampling)
    model.network.double()
    table = model._table(sampling)
    sampler = model._window_sampler(table, sampling)
    scene, noise = scene_of(golden, run), recorded_noise(golden, run)
    clean, output, signal = golden["inputs.z"], golden[f"{run}.output"], model.schedule.signal
    level = torch.tensor([[HISTORY_LEVEL]])
    assert table.levels[1] == HISTORY_LEVEL
    history = add_noise(clean[:, : context - 1], noise.pop(0)[:, :-1], signal(level))
    for frame in range(context, output.shape[1]):
        newest = add_noise(output[:, frame - 1 : frame], noise.pop(0), signal(level))
        history = torch.cat([history, newest], dim=1)
        cond, dropped = branches(scene, golden["inputs.action"][:, :frame])
        x = golden["inputs.x_T"][:, frame : frame + 1]
        for i, step in enumerate(reversed(range(len(table)))):
            levels = torch.full((2, frame + 1), HISTORY_LEVEL)
            levels[:, -1] = table.levels[step]
            v = sampler._guided(torch.cat([history, x], dim=1).double(), levels, cond, dropped)
            fresh = noise.pop(0)[:, -1:]
            ours = sampler._down(step, x, v[:, -1:], levels[:, -1:], tape(fresh))
            key = f"{run}.frame{frame}.step{i}.x_prev"
            if key in golden.arrays.files:
                x = golden[key][:, -1:]
            else:
                x = torch.from_numpy(golden.arrays[f"{key}_last"])[:, None]
            assert_same(ours.float(), x)
    assert not noise


def tape(*draws: Tensor) -> Callable[..., Tensor]:
    """Stands in for drawing noise; of a recorded draw the last frames are used where fewer are asked for."""
    left = list(draws)

    def draw(shape: Sequence[int], generator: object = None, device: object = "cpu") -> Tensor:
        noise = left.pop(0)[:, -shape[1] :]
        assert noise.shape == tuple(shape)
        return noise

    return draw


def frame_by_frame(model: WorldModel, golden: Golden, run: str, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A whole run through the public interface; the recorded draws, in the order in which ours are made."""
    sampling, context = model.config.sampling, settings(golden, run)[1]
    clean, actions, start = golden["inputs.z"], golden["inputs.action"], golden["inputs.x_T"]
    noise = recorded_noise(golden, run)
    first, steps = noise.pop(0), sampling.num_sampling_steps
    before, inside = [first[:, :-1]] if context > 1 else [], []
    for frame in range(context, start.shape[1]):
        before += [noise.pop(0), start[:, frame : frame + 1]]
        drawn, noise = noise[:steps], noise[steps:]
        inside += drawn if sampling.eta else []
    monkeypatch.setattr("world_model.model.draw_noise", tape(*before))
    monkeypatch.setattr("world_model.recompute.draw_noise", tape(*inside))
    generator = torch.Generator()
    scene = scene_of(golden, run)
    state = model.init_state(clean[:, :context], actions[:, : context - 1], generator, scene=scene)
    _, latents = model.rollout(state, actions[:, context - 1 : -1], generator)
    return torch.cat([clean[:, :context], latents], dim=1)


@pytest.mark.parametrize("run", RUNS)
def test_a_whole_run_frame_by_frame(reference: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden(reference, "ddim_ar")
    model = make_model(reference, settings(golden, run)[0])
    assert_same(frame_by_frame(model, golden, run, monkeypatch), golden[f"{run}.output"], WHOLE_RUN)


def test_the_standard_mode_is_another_sampler(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden(reference, "ddim_ar")
    standard = replace(SAMPLING, mode="standard", history_noise_level=HISTORY_LEVEL)
    ours = frame_by_frame(make_model(reference, standard), golden, "cond1_eta0", monkeypatch)
    assert float((ours - golden["cond1_eta0.output"]).abs().max()) > 10 * WHOLE_RUN


@pytest.mark.parametrize("run, eta", [("nar_eta0", 0.0), ("nar_eta1", 1.0)])
def test_every_step_of_all_frames_together(reference: Path, run: str, eta: float) -> None:
    golden = Golden(reference, "ddim_nar")
    sampling = replace(SAMPLING, eta=eta)
    model = make_model(reference, sampling)
    model.network.double()
    table = model._table(sampling)
    sampler = model._window_sampler(table, sampling)
    cond, _ = branches(scene_of(golden, run), golden["inputs.action"][:, :-1])
    dropped = replace(cond, action_mask=torch.zeros(2, 4).double())
    x = golden["inputs.x_T"]
    for i, (step, fresh) in enumerate(zip(reversed(range(len(table))), recorded_noise(golden, run), strict=True)):
        levels = torch.full((2, 4), table.levels[step])
        v = sampler._guided(x.double(), levels, cond, dropped)
        ours = sampler._down(step, x, v, levels, tape(fresh))
        x = golden[f"{run}.step{i}.x_prev"]
        assert_same(ours.float(), x)


@pytest.mark.parametrize("run, eta", [("nar_eta0", 0.0), ("nar_eta1", 1.0)])
def test_a_whole_run_of_all_frames_together(
    reference: Path, run: str, eta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = Golden(reference, "ddim_nar")
    model = make_model(reference, replace(SAMPLING, eta=eta))
    monkeypatch.setattr("world_model.model.draw_noise", tape(golden["inputs.x_T"], *recorded_noise(golden, run)))
    monkeypatch.setattr(model, "scene", lambda *_: scene_of(golden, run))
    monkeypatch.setattr(model, "encode", lambda frames, generator: golden["inputs.z"][:, :1])
    latents = model.imagine_clip(torch.zeros(2, 3, 16, 16), golden["inputs.action"][:, :-1], torch.Generator())
    assert_same(latents, golden[f"{run}.output"], WHOLE_RUN)


@pytest.mark.parametrize("steps, usable", [(61, "60 or 62"), (121, "120 or 123"), (122, "120 or 123")])
def test_step_counts_without_a_finite_reference_are_refused(steps: int, usable: str) -> None:
    """Rounding adds level -1 there, which the published sampler looks up at the table's other end, where it is 0."""
    with pytest.raises(ValueError, match=f"num_sampling_steps: with {steps} .* use {usable}"):
        SamplingConfig(steps, mode="reference")
    assert SamplingConfig(steps, spacing="uniform", mode="reference").num_sampling_steps == steps
    levels = sampling_levels(SamplingConfig(steps).num_sampling_steps, "trailing")
    assert levels[0] >= 0 and levels[-1] == 999 and len(levels) == steps


def test_the_reference_mode_refuses_what_it_cannot_do(reference: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        SamplingConfig(1, mode="reference")
    with pytest.raises(ValueError, match="expected standard or reference"):
        SamplingConfig(mode="published")  # type: ignore[arg-type]
    model = make_model(reference)
    with pytest.raises(ValueError, match="temporal_norm='clip'"):
        replace(model.config, network=replace(model.config.network, temporal_norm="frame"))
