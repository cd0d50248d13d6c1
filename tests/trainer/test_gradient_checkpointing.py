"""Computing inner values again changes memory and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import PUSHT_ACTIONS, randomize, tiny_network
from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.schedule import Schedule
from world_model.network.cache import NetworkCache
from world_model.network.unet import CausalUNet
from world_model.types import Conditioning, Scene, incoming_actions

VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"dropout": 0.1},
    "published": {
        "in_channels": 8, "context_dim": 8, "text_tokens": 3, "image_tokens_per_frame": 2, "dropout": 0.1,
        "temporal_norm": "clip", "output_conv": "height_causal", "film": False, "action_planes": False,
        "stem_frames": 1, "copy_gate": False, "fps_condition": True,
    },
}  # fmt: skip


def step(network: CausalUNet, objective: Any, again: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss, gradients, and bytes kept for the backward pass."""
    network.gradient_checkpointing = again
    network.zero_grad()
    generator = torch.Generator().manual_seed(1)
    latents, actions = torch.randn(2, 5, 4, 8, 8, generator=generator), torch.rand(2, 4, 2, generator=generator)
    scene = None
    if network.config.context_dim:
        context = torch.randn(2, 3 + 5 * 2, 8, generator=generator)
        scene = Scene(latents[:, 0], context)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(7)  # dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = training_loss(
            network, Schedule(), latents, actions * 512, LossConfig(objective=objective), generator, scene
        )
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    total = sum(size for pointer, size in kept.items() if pointer not in weights)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, total


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("objective", ["diffusion_forcing", "teacher_forcing"])
def test_loss_and_gradients_are_the_same(variant: str, objective: str) -> None:
    network = CausalUNet(tiny_network(**VARIANTS[variant]), PUSHT_ACTIONS).train()
    randomize(network)
    loss, gradients, kept = step(network, objective, again=False)
    other_loss, other_gradients, other_kept = step(network, objective, again=True)
    torch.testing.assert_close(other_loss, loss, rtol=1e-6, atol=1e-7)
    assert gradients.keys() == other_gradients.keys() and len(gradients) > 50
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-6)
    assert other_kept < 0.4 * kept


def test_streaming_is_left_alone(make_tiny_model: Callable[..., Any]) -> None:
    network = make_tiny_model().network
    latents, levels = torch.randn(1, 3, 4, 4, 4), torch.zeros(1, 3, dtype=torch.long)
    actions, mask = incoming_actions(torch.rand(1, 2, 2))
    cond = Conditioning(actions, mask)
    plain, _ = network(latents, levels, cond, NetworkCache())
    network.gradient_checkpointing = True
    again, cache = network(latents, levels, cond, NetworkCache())
    assert torch.equal(again, plain) and cache is not None and len(cache.entries) > 0
