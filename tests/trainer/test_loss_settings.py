"""What the loss shows the network: the scene, the action before the clip, hidden actions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from world_model.diffusion.loss import LossConfig, training_loss
from world_model.diffusion.schedule import Schedule
from world_model.types import Conditioning, Scene


class Recorder:
    """A network that predicts nothing and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Conditioning] = []

    def __call__(self, latents: Tensor, levels: Tensor, cond: Conditioning, *_: Any, **__: Any) -> tuple[Tensor, None]:
        self.told.append(cond)
        return torch.zeros_like(latents), None


def told(config: LossConfig, clips: int = 2, scene: Scene | None = None) -> Conditioning:
    network, generator = Recorder(), torch.Generator().manual_seed(0)
    latents, actions = torch.randn(clips, 4, 4, 2, 2, generator=generator), torch.ones(clips, 3, 2)
    training_loss(network, Schedule(), latents, actions, config, generator, scene)
    return network.told[-1]


def test_actions_are_hidden_one_by_one_at_the_rate_asked_for() -> None:
    cond = told(LossConfig(action_dropout=0.2, first_action="zero"), clips=4000)
    assert cond.actions is not None and cond.action_mask is not None
    assert bool((cond.actions[:, 0] == 0).all()) and bool((cond.actions[:, 1:] == 1).all())
    shares = cond.action_mask.mean(0)
    assert bool(((shares > 0.77) & (shares < 0.83)).all())
    together = cond.action_mask.prod(1).mean()
    assert 0.8**4 - 0.03 < together < 0.8**4 + 0.03


def test_the_action_before_the_clip_is_hidden_unless_it_is_to_be_zero() -> None:
    hidden = told(LossConfig(action_dropout=0.0)).action_mask
    zero = told(LossConfig(action_dropout=0.0, first_action="zero")).action_mask
    assert hidden is not None and zero is not None
    assert hidden[:, 0].tolist() == [0, 0] and zero[:, 0].tolist() == [1, 1]
    assert torch.equal(hidden[:, 1:], zero[:, 1:])


@pytest.mark.parametrize(("objective", "copies"), [("diffusion_forcing", 1), ("teacher_forcing", 2)])
def test_every_frame_sees_the_scene(objective: Any, copies: int) -> None:
    scene = Scene(torch.randn(2, 4, 2, 2), torch.randn(2, 5, 3))
    cond = told(LossConfig(objective=objective), scene=scene)
    assert cond.concat is not None and cond.concat.shape == (2, 4 * copies, 4, 2, 2)
    assert torch.equal(cond.concat, scene.concat[:, None].expand_as(cond.concat))
    assert cond.context is not None and torch.equal(cond.context, scene.context)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="loss.objective: expected diffusion_forcing or teacher_forcing, got 'both'"):
        LossConfig(objective="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="loss.first_action: expected hidden or zero, got 'none'"):
        LossConfig(first_action="none")  # type: ignore[arg-type]
