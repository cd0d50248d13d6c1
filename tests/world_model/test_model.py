"""Stepping, sampling, guidance and actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import world_model.model
from tests.conftest import ACTION_SPECS, make_tiny_model
from world_model.diffusion.guidance import GuidedDenoiser, guide
from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.noise_levels import LevelConfig, draw_levels
from world_model.diffusion.samplers import ddim_step, ddim_table
from world_model.diffusion.schedule import Schedule
from world_model.model import SamplingConfig, WorldModel
from world_model.next_frame import NextFrame
from world_model.types import ActionSpec, Conditioning, incoming_actions


def random_actions(spec: ActionSpec, *shape: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if spec.kind == "box":
        return torch.from_numpy(rng.uniform(0, 512, (*shape, spec.size)).astype(np.float32))
    if spec.kind == "multi_binary":
        return torch.from_numpy(rng.integers(0, 2, (*shape, spec.size)).astype(np.float32))
    return torch.from_numpy(rng.integers(0, spec.nvec, (*shape, spec.size)))


@pytest.mark.parametrize("kind", ACTION_SPECS)
def test_every_action_space_steers_the_next_frame(kind: str) -> None:
    spec = ACTION_SPECS[kind]
    model = make_tiny_model(spec)
    g = torch.Generator()
    state = model.init_state(torch.randn(1, 4, 4, 4, 4), random_actions(spec, 1, 3), g)
    one, other = random_actions(spec, 2, 1)
    _, a = model.step(state, one, g.manual_seed(0))
    _, b = model.step(state, other, g.manual_seed(0))
    _, c = model.step(state, one, g.manual_seed(0))
    assert torch.equal(a, c) and not torch.equal(a, b)


@pytest.mark.parametrize("kind", ACTION_SPECS)
def test_action_spec_round_trips(kind: str) -> None:
    spec = ACTION_SPECS[kind]
    tensor = random_actions(spec, 3, 2)
    native = spec.to_native(tensor)
    assert native.shape == (3, 2, *spec.shape) and native.dtype == spec.dtype
    assert torch.equal(spec.to_tensor(native).to(tensor), tensor)
    assert ActionSpec.from_dict(spec.to_dict()) == spec


def test_discrete_start_is_removed_and_restored() -> None:
    spec = ActionSpec("discrete", (), nvec=(3,), start=(5,), dtype="int64")
    assert spec.to_tensor(np.array([5, 7])).tolist() == [[0], [2]]
    assert spec.to_native(torch.tensor([[0], [2]])).tolist() == [5, 7]


def test_actions_are_aligned_with_the_frames_they_lead_to() -> None:
    actions = torch.arange(6.0).view(1, 3, 2)
    aligned, mask = incoming_actions(actions)
    assert aligned[0].tolist() == [[0, 0], [0, 1], [2, 3], [4, 5]]
    assert mask.tolist() == [[0, 1, 1, 1]]


def test_scale_one_is_no_guidance_and_two_extrapolates() -> None:
    model = make_tiny_model()
    g = torch.Generator().manual_seed(0)
    latents, levels = torch.randn(2, 3, 4, 4, 4, generator=g), torch.full((2, 3), 700)
    cond = Conditioning(random_actions(model.config.actions, 2, 3), torch.ones(2, 3))
    plain, _ = model.network(latents, levels, cond)
    mask = torch.tensor([[1.0, 1.0, 0.0]]).expand(2, 3)
    dropped, _ = model.network(latents, levels, Conditioning(cond.actions, mask))
    v, _ = GuidedDenoiser(model.network, 1.0)(latents, levels, cond)
    torch.testing.assert_close(v, plain, atol=1e-5, rtol=0)
    v, _ = GuidedDenoiser(model.network, 2.5)(latents, levels, cond)
    torch.testing.assert_close(v[:, -1], (dropped + 2.5 * (plain - dropped))[:, -1], atol=1e-4, rtol=0)
    torch.testing.assert_close(v[:, :-1], plain[:, :-1], atol=1e-5, rtol=0)


def test_guidance_rescale_keeps_the_deviation_of_the_conditional_prediction() -> None:
    conditional, dropped = torch.randn(2, 3, 1, 4, 4, 4)
    v = guide(conditional, dropped, 3.0, 1.0)
    over = (1, 2, 3, 4)
    torch.testing.assert_close(v.std(over), conditional.std(over))


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_with_a_perfect_denoiser_recovers_the_clean_latent(steps: int, eta: float) -> None:
    schedule, g = Schedule(), torch.Generator().manual_seed(0)
    clean = torch.randn(2, 1, 4, 4, 4, generator=g)
    x = torch.randn(clean.shape, generator=g)
    table = ddim_table(schedule, steps, "trailing", eta)
    for step in reversed(range(len(table))):
        signal = schedule.signal(torch.full((2, 1), table.levels[step]))
        noise = (x - signal.sqrt() * clean) / (1 - signal).sqrt()
        v = signal.sqrt() * noise - (1 - signal).sqrt() * clean
        x = ddim_step(table, step, x, v, signal, torch.randn(x.shape, generator=g))
    torch.testing.assert_close(x, clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm, way", [("frame", "stream"), ("clip", "recompute")])
def test_temperature_scales_the_noise_of_the_new_frame_alone(
    norm: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = make_tiny_model(temporal_norm=norm), []
    step = getattr(world_model.model, way)

    def watched(*given: object) -> object:
        seen.extend(one for one in given if isinstance(one, NextFrame))
        return step(*given)

    monkeypatch.setattr(world_model.model, way, watched)
    for temperature in (1.0, 0.5):
        g = torch.Generator().manual_seed(0)
        sampling = SamplingConfig(temperature=temperature, history_noise_level=200)
        state = model.init_state(torch.zeros(2, 3, 4, 4, 4), torch.zeros(2, 2, 2), g, sampling)
        model.step(state, torch.zeros(2, 2), g, sampling)
    own, halved = seen
    assert torch.equal(halved.noise, own.noise / 2) and 0.8 < float(own.noise.std()) < 1.2
    assert torch.equal(halved.past, own.past) and bool(own.past.any())


@pytest.mark.parametrize("norm", ["frame", "clip"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("together", [False, True])
def test_dreams_differ_less_the_colder_they_are(norm: str, eta: float, together: bool) -> None:
    model = make_tiny_model(temporal_norm=norm)

    def spread(temperature: float) -> float:
        g = torch.Generator().manual_seed(0)
        sampling = SamplingConfig(4, eta=eta, temperature=temperature)
        if together:
            return float(model.imagine_clip(torch.zeros(8, 3, 16, 16), torch.zeros(8, 2, 2), g, sampling).std(0).mean())
        state = model.init_state(torch.ones(1, 3, 4, 4, 4), torch.zeros(1, 2, 2), g).repeat(8)
        return float(model.step(state, torch.zeros(8, 2), g, sampling)[1].std(0).mean())

    assert spread(0.1) < 0.3 * spread(1.0) and spread(2.0) > 1.5 * spread(1.0)


def test_temperature_scales_what_eta_adds() -> None:
    schedule, g = Schedule(), torch.Generator().manual_seed(0)
    x, v, noise = torch.randn(3, 2, 1, 4, 4, 4, generator=g)

    def down(noise: torch.Tensor, temperature: float) -> torch.Tensor:
        table = ddim_table(schedule, 4, eta=1.0, temperature=temperature)
        return ddim_step(table, 2, x, v, schedule.signal(torch.full((2, 1), table.levels[2])), noise)

    torch.testing.assert_close(down(noise, 0.5), down(noise / 2, 1.0), atol=1e-5, rtol=0)
    assert float((down(noise, 0.5) - down(noise, 1.0)).std()) > 0.1


@pytest.mark.parametrize("steps", [7, 11, 15, 20, 25, 33, 61])
def test_no_nan_at_the_zero_signal_level_for_any_number_of_steps(steps: int) -> None:
    model = make_tiny_model()
    g = torch.Generator().manual_seed(0)
    state = model.init_state(torch.randn(1, 1, 4, 4, 4), torch.zeros(1, 0, 2), g)
    _, latent = model.step(state, torch.full((1, 2), 256.0), g, SamplingConfig(steps, eta=1.0))
    assert bool(latent.isfinite().all())


def test_rollout_is_repeated_stepping() -> None:
    model = make_tiny_model()
    actions = random_actions(model.config.actions, 2, 5)
    state = model.init_state(torch.randn(2, 4, 4, 4, 4), actions[:, :3], torch.Generator().manual_seed(0))
    _, together = model.rollout(state, actions, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(1)
    for i in range(5):
        state, latent = model.step(state, actions[:, i], g)
        assert torch.equal(latent, together[:, i])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m, s: m.step(s, torch.zeros(1, 3), torch.Generator()),
            r"action: expected shape \(1, 2\), got \(1, 3\)",
        ),
        (lambda m, s: m.step(s, torch.zeros(1, 2), [torch.Generator()] * 2), r"one per batch row \(1\), got 2"),
        (lambda m, s: m.encode(torch.zeros(1, 1, 3, 20, 20)), r"frames: expected shape \[b t 3 16 16\]"),
        (lambda m, s: m.init_state(torch.zeros(1, 0, 4, 4, 4), torch.zeros(1, 0, 2), torch.Generator()), "t >= 1"),
        (lambda m, s: m.init_state(torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 2), torch.Generator()), "one between"),
        (lambda m, s: SamplingConfig(num_sampling_steps=0), "num_sampling_steps: expected at least 1"),
        (lambda m, s: SamplingConfig(eta=2.0), "eta: expected 0..1"),
        (lambda m, s: SamplingConfig(history_noise_level=1000), "history_noise_level"),
        (lambda m, s: SamplingConfig(temperature=0), "temperature: expected a number above 0, got 0"),
        (lambda m, s: SamplingConfig(temperature=float("nan")), "temperature: expected a number above 0, got nan"),
        (lambda m, s: SamplingConfig(temperature=float("inf")), "temperature: expected a number above 0, got inf"),
        (
            lambda m, s: SamplingConfig(2, temperature=0.9, mode="reference"),
            "temperature: the reference mode .* only 1; got 0.9; use mode='standard'",
        ),
    ],
)
def test_bad_calls_say_what_was_expected(call: Callable[..., object], message: str) -> None:
    model = make_tiny_model()
    state = model.init_state(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 0, 2), torch.Generator())
    with pytest.raises(ValueError, match=message):
        call(model, state)


def test_levels_are_independent_per_frame_and_mixed() -> None:
    high = draw_levels((400, 10), LevelConfig(lowest=300), torch.Generator().manual_seed(0))
    assert high.min() == 300 and high.max() == 999 and 640 < high.float().mean() < 660
    with pytest.raises(ValueError, match=r"levels\.lowest: expected 0\.\.999, got 1000"):
        LevelConfig(lowest=1000)
    levels = draw_levels((400, 10), LevelConfig(terminal_fraction=0.5), torch.Generator().manual_seed(0))
    assert 0.45 < float((levels == 999).float().mean()) < 0.56
    assert levels.min() < 20 and len(levels[0].unique()) > 2


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig("teacher_forcing", LevelConfig(0.5), max_history_level=20, self_history=1.0, self_history_passes=2),
        LossConfig("teacher_forcing", self_history=0.5, self_history_start="drawn"),
    ],
)
def test_training_learns_a_tiny_world(config: LossConfig) -> None:
    """Frames that copy their action: the loss falls far below that of ignoring it."""
    model = make_tiny_model(model_channels=16, window=8).requires_grad_(True)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.network.parameters(), 3e-3)
    g, losses = torch.Generator().manual_seed(0), []
    for _ in range(120):
        actions = torch.rand(8, 5, 2, generator=g) * 512
        shown = torch.cat([actions[:, :1], actions], 1) / 256 - 1
        latents = shown.repeat(1, 1, 2)[..., None, None].expand(-1, -1, -1, 4, 4).contiguous()
        loss, _ = training_loss(model.network, model.schedule, latents, actions, config, g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])


def test_model_runs_in_bfloat16_close_to_float32() -> None:
    model = make_tiny_model()
    actions = random_actions(model.config.actions, 1, 3)
    latents = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))

    def newest(m: WorldModel) -> torch.Tensor:
        g = torch.Generator().manual_seed(0)
        return m.step(m.init_state(latents, actions, g), actions[:, 0], g)[1]

    exact = newest(model)
    rough = newest(make_tiny_model().to(torch.bfloat16))
    assert rough.dtype == torch.float32
    assert float((exact - rough).std() / exact.std()) < 0.1
