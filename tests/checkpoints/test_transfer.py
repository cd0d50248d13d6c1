"""Bidirectional weights made causal: equal to the reference, exact on straight lines, bounded on smooth signals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.world_model.test_reference import Golden, assert_same, network, run, unbounded_box
from world_model.checkpoints.key_map import map_network, network_key
from world_model.checkpoints.transfer import (
    METHODS,
    TransferMethod,
    convert_network,
    extrapolation_coefficients,
    extrapolation_error_constant,
    transfer_taps,
)

KERNELS = [(m, p) for m in (1, 2, 3) for p in (2, 3, 5, 8)]


@pytest.fixture(scope="module")
def golden(reference: Path) -> Golden:
    return Golden(reference, "unet_bidirectional")


@pytest.fixture(scope="module")
def weights(golden: Golden) -> dict[str, Tensor]:
    return golden.weights()


@pytest.mark.parametrize("method", METHODS)
def test_converted_network_gives_the_references_outputs(
    golden: Golden, weights: dict[str, Tensor], method: TransferMethod
) -> None:
    actions = {
        key.removeprefix("action."): torch.from_numpy(golden.arrays[key])
        for key in golden.arrays.files
        if key.startswith("action.")
    }
    weights = weights | actions
    net = network(golden.notes["config_causal"], weights, unbounded_box(7))
    net.load_state_dict(convert_network(map_network(weights), method))
    assert_same(run(net, golden, "causal"), golden[f"{method}.output"])


@pytest.mark.parametrize("method", METHODS)
def test_converted_tensors_are_the_references(
    golden: Golden, weights: dict[str, Tensor], method: TransferMethod
) -> None:
    ours = convert_network(map_network(weights), method)
    for key in golden.notes["converted_saved"]:
        theirs = map_network({key: torch.from_numpy(golden.arrays[f"{method}.converted.{key}"])})
        name = network_key(key, is_temporal=False)
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=0)


def test_only_kernels_over_time_and_the_output_kernel_change(weights: dict[str, Tensor]) -> None:
    before = map_network(weights)
    changed = {
        conv: {
            name
            for name, tensor in convert_network(before, "extrapolative", output_conv=conv).items()
            if not torch.equal(tensor, before[name])
        }
        for conv in ("height_causal", "symmetric")
    }
    assert changed["height_causal"] - changed["symmetric"] == {"conv_out.weight"}
    assert changed["symmetric"] == {n for n in before if ".temporal.convs." in n and n.endswith(".weight")}


def test_the_published_case() -> None:
    w = torch.tensor([[[1.0], [10.0], [100.0]]])  # [out taps in]
    expected: dict[TransferMethod, list[float]] = {
        "shift": [1, 10, 100],
        "masked": [0, 1, 10],
        "extrapolative": [0, 1 - 100, 10 + 200],
    }
    for method, taps in expected.items():
        torch.testing.assert_close(transfer_taps(w, method).flatten(), torch.tensor(taps, dtype=torch.float32))


def causal(kernel: Tensor, signal: Tensor) -> Tensor:
    """``signal [t]`` seen by taps ordered from the oldest to the present; the first frames see zeros."""
    return F.conv1d(F.pad(signal, (len(kernel) - 1, 0))[None, None], kernel[None, None])[0, 0]


def bidirectional(kernel: Tensor, signal: Tensor) -> Tensor:
    return F.conv1d(signal[None, None], kernel[None, None], padding=len(kernel) // 2)[0, 0]


def settled(half: int, past: int, length: int) -> slice:
    """Frames far enough from both ends for neither convolution to see padding."""
    return slice(max(half, past - 1), length - half)


@pytest.mark.parametrize("half, past", KERNELS)
def test_exact_on_features_linear_in_time(half: int, past: int) -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(2 * half + 1, generator=generator, dtype=torch.float64)
    signal = 3.0 - 0.7 * torch.arange(24, dtype=torch.float64)
    converted = transfer_taps(kernel, "extrapolative", dim=0, past=past)
    assert len(converted) == max(2 * half + 1, past)
    inner = settled(half, past, 24)
    expected = bidirectional(kernel, signal)[inner]
    torch.testing.assert_close(causal(converted, signal)[inner], expected, atol=1e-8, rtol=0)
    masked = transfer_taps(kernel, "masked", dim=0)
    assert float((causal(masked, signal)[inner] - expected).abs().max()) > 0.1


@pytest.mark.parametrize("half, past", KERNELS)
def test_error_bound_on_smooth_features(half: int, past: int) -> None:
    """Proposition 1: the difference is at most sum_k |w_k| C_k sup|x''|."""
    rng = np.random.default_rng(half * 10 + past)
    kernel = torch.from_numpy(rng.standard_normal(2 * half + 1))
    converted = transfer_taps(kernel, "extrapolative", dim=0, past=past)
    t = torch.arange(64, dtype=torch.float64)
    inner = settled(half, past, 64)
    for _ in range(20):
        frequency, phase = rng.uniform(0.02, 1.5), rng.uniform(0, 2 * math.pi)
        signal = torch.sin(frequency * t + phase)
        curvature = frequency**2
        error = (causal(converted, signal) - bidirectional(kernel, signal))[inner].abs().max()
        constants = [extrapolation_error_constant(k, past) for k in range(1, half + 1)]
        bound = curvature * sum(abs(float(w)) * c for w, c in zip(kernel[half + 1 :], constants, strict=True))
        assert float(error) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("past", [2, 3, 5, 8])
def test_the_bounds_constant_is_the_smallest(ahead: int, past: int) -> None:
    """It is attained by the parabola, and equals the integral of the error's Peano kernel, found numerically."""
    times = -np.arange(past)
    weights = np.array(extrapolation_coefficients(ahead, past))
    line = np.polyval(np.polyfit(times, 0.5 * times**2, 1), ahead)
    constant = extrapolation_error_constant(ahead, past)
    assert constant == pytest.approx(0.5 * ahead**2 - line)
    s = np.linspace(1 - past, ahead, 20_001)
    peano = (weights * np.maximum(times[:, None] - s, 0).T).sum(1) - np.maximum(ahead - s, 0)
    assert np.all(peano <= 1e-9)  # one sign, so no signal does worse than the parabola
    assert constant == pytest.approx(np.trapezoid(np.abs(peano), s), rel=1e-4)


@pytest.mark.parametrize("past", [2, 3, 7])
def test_coefficients_are_the_least_squares_lines(past: int) -> None:
    rng = np.random.default_rng(past)
    newest_first = rng.standard_normal(past)
    for ahead in (1, 4):
        line = np.polyval(np.polyfit(-np.arange(past), newest_first, 1), ahead)
        assert np.dot(extrapolation_coefficients(ahead, past), newest_first) == pytest.approx(line)


def test_any_axis_type_and_device() -> None:
    weight = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    along2 = transfer_taps(weight, "extrapolative", dim=2, past=3)
    along0 = transfer_taps(weight.movedim(2, 0), "extrapolative", dim=0, past=3)
    torch.testing.assert_close(along2, along0.movedim(0, 2))
    half = transfer_taps(weight.half(), "extrapolative", dim=2, past=3)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), along2, atol=1e-2, rtol=1e-2)
    assert transfer_taps(weight.to("meta"), "extrapolative", dim=2, past=7).shape == (2, 3, 7, 4)


def test_more_taps_than_needed_are_zeros_in_front() -> None:
    weight = torch.randn(1, 3, 1, generator=torch.Generator().manual_seed(0))
    for method in METHODS:
        wide = transfer_taps(weight, method, taps=6)
        assert torch.equal(wide[:, :3], torch.zeros(1, 3, 1))
        assert torch.equal(wide[:, 3:], transfer_taps(weight, method))


@pytest.mark.parametrize(
    "shape, arguments, message",
    [
        ((1, 4, 1), {"method": "masked"}, "odd number of taps"),
        ((1, 3, 1), {"method": "mirror"}, "shift, masked, extrapolative, got 'mirror'"),
        ((1, 3, 1), {"method": "extrapolative", "past": 1}, "past >= 2"),
        ((1, 3, 1), {"method": "extrapolative", "past": 4, "taps": 3}, "needs 4 causal taps"),
        ((1, 3, 1), {"method": "shift", "taps": 2}, "needs 3 causal taps"),
    ],
)
def test_impossible_transfers_are_named(shape: tuple[int, ...], arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transfer_taps(torch.ones(shape), **arguments)
