"""Starting a network from another that knows other actions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.conftest import PUSHT_ACTIONS, randomize, tiny_network
from world_model.network.unet import CausalUNet
from world_model.trainer.transplant import transplant
from world_model.types import Conditioning


def _network(block: int = 1, **changes: object) -> CausalUNet:
    network = CausalUNet(tiny_network(**changes), PUSHT_ACTIONS.block(block))
    randomize(network, seed=block)
    return network


def _v(network: CausalUNet, mask: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 4, 4, 4, generator=generator)
    actions = torch.rand(1, 4, network.action_embed.num_features // 5, generator=generator) * 512  # type: ignore[union-attr]
    cond = Conditioning(actions, torch.full((1, 4), mask))
    with torch.no_grad():
        return network(latents, torch.full((1, 4), 500), cond)[0]


def test_the_same_actions_give_the_same_network() -> None:
    network, start = _network(), _network()
    randomize(start, seed=5)
    assert transplant(network, start) == []
    assert torch.equal(_v(network, 1.0), _v(start, 1.0))


def test_other_actions_leave_what_does_not_depend_on_them() -> None:
    network, start = _network(block=3, window=4), _network()
    anew = transplant(network, start)
    assert "stem.weight" in anew and any(name.startswith("action_embed.") for name in anew)
    assert all("modulate" in name or name.startswith(("stem", "action_embed")) for name in anew)
    # Without actions both say the same.
    assert torch.allclose(_v(network, 0.0), _v(start, 0.0), atol=1e-5)
    assert not torch.allclose(_v(network, 1.0), _v(network, 0.0), atol=1e-3)


def test_other_sizes_are_refused() -> None:
    start = _network()
    with pytest.raises(ValueError, match="differs in nothing but actions"):
        transplant(CausalUNet(replace(start.config, model_channels=32), PUSHT_ACTIONS), start)
