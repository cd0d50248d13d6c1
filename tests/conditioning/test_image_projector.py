"""The learned queries that turn image tokens into context tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conditioning.golden import Golden, assert_same
from world_model.checkpoints.image_projector_keys import map_image_projector
from world_model.conditioning.image_projector import Resampler, ResamplerConfig


def test_context_tokens_match_the_reference(reference: Path) -> None:
    golden = Golden(reference, "resampler")
    projector = Resampler(ResamplerConfig(**golden.notes["config"]))
    projector.load_state_dict(map_image_projector(golden.weights))
    assert_same(projector.eval().double()(golden["x"].double()), golden["output"], 1e-5)


def test_any_number_of_image_tokens_gives_the_same_number_of_context_tokens() -> None:
    projector = Resampler(
        ResamplerConfig(dim=16, depth=1, dim_head=8, heads=2, num_queries=3, embedding_dim=12, output_dim=20)
    )
    for tokens in (1, 7):
        assert projector(torch.randn(2, tokens, 12)).shape == (2, 16 * 3, 20)


@pytest.mark.parametrize("shape", [(5, 24), (1, 5, 23)])
def test_wrong_tokens_and_configs_are_named(shape: tuple[int, ...]) -> None:
    projector = Resampler(ResamplerConfig(dim=16, depth=1, dim_head=8, heads=2, embedding_dim=24, output_dim=16))
    with pytest.raises(ValueError, match=r"image tokens: expected \[b n 24\], got .*embedding_dim"):
        projector(torch.zeros(shape))
    with pytest.raises(ValueError, match="image projector depth: expected 1 or more, got 0"):
        ResamplerConfig(depth=0)
