"""Frames as CLIP wants them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conditioning.golden import Golden, assert_same
from world_model.conditioning.clip_preprocess import PIXEL_MEAN, PIXEL_STD, clip_preprocess


def test_shrinking_matches_the_reference(reference: Path) -> None:
    golden = Golden(reference, "clip_preprocess")
    pixels = clip_preprocess(golden["image_u8"] / 127.5 - 1)
    assert pixels.shape == (1, 3, 224, 224)
    assert_same(pixels[:, :, ::4, ::4], golden["out_sub"], 1e-5)
    assert_same(pixels[:, :, 100:104], golden["out_rows_100_103"], 1e-5)


def test_growing_matches_the_reference(reference: Path) -> None:
    golden = Golden(reference, "clip_preprocess")
    part = (golden["image_u8"] / 127.5 - 1)[:, :, 100:180, 200:328]
    assert_same(clip_preprocess(part)[:, :, ::8, ::8], golden["out_upsample_80x128_sub"], 1e-5)


@pytest.mark.parametrize("size", [(64, 96), (6, 300), (1, 1), (900, 40)])
def test_a_plain_colour_stays_one(size: tuple[int, int]) -> None:
    pixels = clip_preprocess(torch.full((2, 3, *size), -0.5), 28)
    expected = (0.25 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    torch.testing.assert_close(pixels, expected[:, None, None].expand(2, 3, 28, 28), atol=1e-5, rtol=0)


def test_frames_of_the_right_size_are_only_normalised() -> None:
    frames = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = (torch.tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    torch.testing.assert_close(clip_preprocess(frames, 28), (frames / 2 + 0.5 - mean) / std, atol=1e-5, rtol=0)


def test_fine_stripes_are_smoothed_before_they_are_sampled() -> None:
    stripes = torch.tensor([-1.0, 1.0]).repeat(112)[None, None, None].expand(1, 3, 224, 224)
    assert float(clip_preprocess(stripes, 28).std(dim=3).max()) < 0.05
    assert float(clip_preprocess(stripes, 224).std(dim=3).max()) > 1


def test_half_precision_is_resized_in_float32() -> None:
    frames = torch.rand(1, 3, 40, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(clip_preprocess(frames, 28), clip_preprocess(frames.float(), 28))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(3, 16, 16), r"floats \[b 3 h w\].* got torch.float32 \[3, 16, 16\]"),
        (torch.zeros(1, 16, 16, 3), r"\[1, 16, 16, 3\].*channels before"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), r"got torch.uint8 .*frames / 127.5 - 1"),
    ],
)
def test_wrong_frames_are_named(frames: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip_preprocess(frames)
