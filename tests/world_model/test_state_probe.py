"""The state probe: shapes, angles, statistics, and how it is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import make_tiny_model
from world_model.checkpoints.load import load
from world_model.model import WorldModel
from world_model.state_probe import StateProbe, StateProbeConfig

CONFIG = StateProbeConfig(("agent", "block"), (2, 3), angles=(4,), channels=8, features=16)


@pytest.fixture
def probe() -> StateProbe:
    torch.manual_seed(0)
    probe = StateProbe(CONFIG, (4, 16, 12))
    states = torch.rand(200, 5) * torch.tensor([1.0, 10.0, 100.0, 1000.0, 6.0]) + 3
    probe.set_statistics(states)
    return probe


def test_states_have_the_recordings_units(probe: StateProbe) -> None:
    assert CONFIG.names == ["agent.0", "agent.1", "block.0", "block.1", "block.2"] and CONFIG.length == 5
    states, deviations = probe(torch.randn(7, 4, 16, 12))
    assert states.shape == deviations.shape == (7, 5) and states.dtype == torch.float32 and bool((deviations > 0).all())
    assert (deviations[:, 3] / deviations[:, 0]).median() > 100  # each in its own unit
    assert (states[:, 3] - 503).abs().max() < 600 and (states[:, 0] - 3.5).abs().max() < 1
    assert states[:, 4].abs().max() <= math.pi


def test_targets_are_what_outputs_become(probe: StateProbe) -> None:
    states = torch.tensor([[3.2, 8.0, 60.0, 500.0, 3.0], [3.9, 5.0, 10.0, 900.0, -1.0]])
    torch.testing.assert_close(probe.states(probe.targets(states)), states, rtol=1e-5, atol=1e-4)


def test_angles_in_the_middle_keep_their_place() -> None:
    probe = StateProbe(StateProbeConfig(("a",), (4,), angles=(2, 0)), (4, 8, 8))
    states = torch.tensor([[1.0, 20.0, -2.0, 30.0]])
    torch.testing.assert_close(probe.states(probe.targets(states)), states)


def test_angles_differ_by_the_shorter_way(probe: StateProbe) -> None:
    a, b = torch.zeros(2, 5), torch.zeros(2, 5)
    a[:, 4], b[:, 4] = torch.tensor([3.1, -3.1]), torch.tensor([-3.1, 3.1])
    a[0, 0] = 50.0
    apart = probe.difference(a, b)
    around = 2 * math.pi - 6.2
    torch.testing.assert_close(apart[:, 4], torch.tensor([-around, around]), rtol=1e-4, atol=1e-4)
    assert float(apart[0, 0]) == 50.0


def test_bundles_keep_the_probe_exact(tmp_path: Path) -> None:
    model = make_tiny_model()
    model.config = replace(model.config, state_probe=CONFIG)
    model.state_probe = StateProbe(CONFIG, model.config.latent_shape)
    folder = model.save_pretrained(tmp_path)
    back = load(folder, dtype=torch.bfloat16)
    assert isinstance(back, WorldModel) and back.state_probe is not None and back.config == model.config
    stored = load_file(folder / "model.safetensors")
    for name, tensor in model.state_probe.state_dict().items():
        assert stored[f"state_probe.{name}"].dtype == tensor.dtype
        assert torch.equal(back.state_probe.state_dict()[name], tensor)
    latents = torch.randn(2, *model.config.latent_shape)
    with torch.no_grad():
        torch.testing.assert_close(back.state_probe(latents), model.state_probe(latents))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"infos": ()}, "expected infos"),
        ({"sizes": (2,)}, "how many numbers"),
        ({"sizes": (2, 0)}, "how many numbers"),
        ({"angles": (5,)}, "places in a state of 5"),
        ({"angles": (1, 1)}, "each once"),
        ({"channels": 6}, "multiple of 4"),
        ({"features": 0}, "features"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **changes)
