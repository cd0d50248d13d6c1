"""What the loss shows the network: the scene, the action before the clip, hidden actions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from world_model.diffusion.loss import NEW, LossConfig, denoising_error, place_weights, training_loss
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


def test_places_weigh_more_after_something_unusual_there() -> None:
    unusual = torch.zeros(2, 4, 6, 6)
    unusual[1, 1, 2, 3] = 20.0
    weights = place_weights(unusual, 0.5)
    assert weights.shape == (2, 4, 1, 6, 6) and float(weights.mean()) == pytest.approx(1)
    relative = weights[1, :, 0] / weights[0, 0, 0, 0, 0]
    assert float(relative[1, 2, 3]) == pytest.approx(1 + 0.5 * 20 * NEW)  # new there, perhaps by chance
    torch.testing.assert_close(relative[2, 1:4, 2:5], torch.full((3, 3), 11.0))  # where it can have gone
    assert float(relative[2].sum()) == pytest.approx(36 + 9 * 10)
    torch.testing.assert_close(relative[[0, 3]], torch.ones(2, 6, 6))


def test_errors_count_by_the_weights_of_their_places() -> None:
    generator, schedule = torch.Generator().manual_seed(0), Schedule()
    latents, noise = torch.randn(2, 2, 3, 4, 4, 4, generator=generator)
    levels = torch.tensor([[10, 500, 999], [0, 300, 700]])
    there = torch.zeros(2, 3, 1, 4, 4)
    there[..., 1, 2] = 16.0
    cond = Conditioning(torch.ones(2, 3, 2), torch.ones(2, 3))
    weighted = denoising_error(Recorder(), schedule, latents, levels, noise, cond, there)
    alone = [x[..., 1:2, 2:3] for x in (latents, noise)]
    torch.testing.assert_close(weighted, denoising_error(Recorder(), schedule, alone[0], levels, alone[1], cond))


@pytest.mark.parametrize("objective", ["diffusion_forcing", "teacher_forcing"])
def test_salience_reaches_the_loss(objective: Any) -> None:
    def loss(strength: float) -> float:
        generator = torch.Generator().manual_seed(0)
        latents, actions = torch.randn(4, 4, 4, 9, 9, generator=generator), torch.ones(4, 3, 2)
        latents[:, :, :, 1, 1] *= 4  # which a network that predicts nothing gets more wrong
        unusual = torch.zeros(4, 4, 9, 9)
        unusual[:, :, 1, 1] = 20.0
        config = LossConfig(objective=objective, salience=strength)
        return float(training_loss(Recorder(), Schedule(), latents, actions, config, generator, unusual=unusual)[0])

    assert loss(5.0) > 1.05 * loss(0.0)
    with pytest.raises(ValueError, match=r"loss\.salience: expected 0 where nothing says what is unusual"):
        training_loss(
            Recorder(),
            Schedule(),
            torch.zeros(1, 2, 4, 3, 3),
            torch.ones(1, 1, 2),
            LossConfig(salience=1.0),
            torch.Generator(),
        )
    with pytest.raises(ValueError, match=r"loss\.salience"):
        LossConfig(salience=-1.0)
