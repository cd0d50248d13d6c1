"""Caption and image tokens of a published model."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from world_model.conditioning.clip import ImageTowerConfig
from world_model.conditioning.conditioner import Conditioner, ConditionerConfig
from world_model.conditioning.image_projector import ResamplerConfig
from world_model.schema import build

TINY = ConditionerConfig(
    ImageTowerConfig(width=24, layers=2, head_width=8, patch_size=14, image_size=28),
    ResamplerConfig(16, depth=1, dim_head=8, heads=2, num_queries=3, embedding_dim=24, output_dim=20, video_length=4),
    text_tokens=5,
)


@pytest.fixture
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    made = Conditioner(TINY).eval()
    made.set_caption(torch.randn(5, 20))
    return made


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(3, 3, 30, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_caption_tokens_come_first_then_those_of_the_image(conditioner: Conditioner, frames: torch.Tensor) -> None:
    context = conditioner(frames)
    assert context.shape == (3, TINY.num_tokens, 20) and TINY.num_tokens == 5 + 4 * 3
    assert torch.equal(context[:, :5], conditioner.caption.expand(3, -1, -1))
    torch.testing.assert_close(context[:, 5:], conditioner.projector(conditioner.image_tower(frames)))


def test_the_image_matters_and_rows_do_not_mix(conditioner: Conditioner, frames: torch.Tensor) -> None:
    together = conditioner(frames).detach()
    torch.testing.assert_close(conditioner(frames[1:2]), together[1:2], atol=1e-5, rtol=1e-5)
    assert float((together[0, 5:] - together[1, 5:]).abs().max()) > 1e-3


def test_a_blank_context_is_that_of_a_grey_frame_of_any_size(conditioner: Conditioner) -> None:
    blank = conditioner.blank_context(2)
    assert blank.shape == (2, TINY.num_tokens, 20)
    torch.testing.assert_close(blank, conditioner(torch.zeros(2, 3, 60, 90)), atol=1e-5, rtol=1e-5)


def test_the_caption_is_saved_with_the_weights(conditioner: Conditioner, frames: torch.Tensor) -> None:
    with torch.device("meta"):
        other = Conditioner(TINY).eval()
    other.load_state_dict(conditioner.state_dict(), assign=True)
    assert torch.equal(other(frames), conditioner(frames))
    with pytest.raises(ValueError, match=r"caption: expected \[5, 20\], got \[1, 5, 20\]"):
        conditioner.set_caption(torch.zeros(1, 5, 20))


def test_only_the_projector_trains(conditioner: Conditioner, frames: torch.Tensor) -> None:
    conditioner(frames).square().mean().backward()
    trained = {name for name, parameter in conditioner.named_parameters() if parameter.grad is not None}
    assert trained == {f"projector.{name}" for name, _ in conditioner.projector.named_parameters()}


def test_the_context_has_the_type_of_the_weights(conditioner: Conditioner, frames: torch.Tensor) -> None:
    assert conditioner.bfloat16()(frames).dtype == torch.bfloat16


def test_configs_come_back_from_plain_values() -> None:
    assert build(ConditionerConfig, asdict(TINY)) == TINY
    published = build(ConditionerConfig, {})
    assert published.num_tokens == 333 and published.image.num_tokens == 257
    with pytest.raises(ValueError, match="unknown key 'image.widht'. Did you mean 'image.width'"):
        build(ConditionerConfig, {"image": {"widht": 3}})
    with pytest.raises(ValueError, match="projector.embedding_dim: expected image.width=1280, got 24"):
        ConditionerConfig(projector=ResamplerConfig(embedding_dim=24))
