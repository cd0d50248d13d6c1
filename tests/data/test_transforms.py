"""Letterboxing as the published models see it, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from world_model.data import Box, Letterbox, csgo, recon, rt1
from world_model.data.transforms import resize
from world_model.data.video import read_video


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours, nowhere black."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator) * 200 + 40
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return fine[0].permute(1, 2, 0).clamp(30, 255).to(torch.uint8)


@pytest.mark.parametrize(
    ("letterbox", "size", "box"),
    [
        (rt1.PUBLISHED, (256, 320), Box(0, 56, 320, 400)),
        (csgo.PUBLISHED, (150, 280), Box(22, 0, 275, 512)),
        (recon.PUBLISHED, (480, 640), Box(0, 96, 320, 320)),
        (recon.PUBLISHED, (120, 160), Box(0, 96, 320, 320)),
        (recon.PUBLISHED, (360, 640), Box(0, 96, 320, 320)),
        (Letterbox(320, 512), (256, 256), Box(0, 96, 320, 320)),
        (Letterbox(64, 64), (256, 256), Box(0, 0, 64, 64)),
        (Letterbox(64, 64), (150, 280), Box(15, 0, 34, 64)),
    ],
)
def test_the_picture_lies_where_the_paper_has_it(letterbox: Letterbox, size: tuple[int, int], box: Box) -> None:
    frames = picture(*size)[None]
    boxed = letterbox(frames)
    assert boxed.dtype == torch.uint8 and boxed.shape == (1, letterbox.height, letterbox.width, 3)
    assert letterbox.crop_box(*size) == box
    inside = torch.zeros(letterbox.height, letterbox.width, dtype=torch.bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    assert (boxed[0][inside] >= 29).all() and not boxed[0][~inside].any()
    assert box.crop(boxed).shape == (1, box.height, box.width, 3)


def test_counter_strike_has_the_wider_bar_below() -> None:
    boxed = csgo.PUBLISHED(picture(150, 280))
    assert not boxed[:22].any() and boxed[22].any() and boxed[296].any() and not boxed[297:].any()


@pytest.mark.parametrize("size", [(20, 40), (90, 70), (45, 46)])
def test_resizing_is_bilinear_and_antialiased(size: tuple[int, int]) -> None:
    frame = torch.randint(256, (45, 46, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pillow = Image.fromarray(frame.numpy()).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    difference = resize(frame, *size).int() - torch.from_numpy(np.array(pillow)).int()
    assert difference.abs().max() <= 1  # Pillow rounds after each axis


def test_shapes_with_any_number_of_axes_in_front() -> None:
    frames = torch.stack([picture(8, 10, seed) for seed in range(6)])
    letterbox = Letterbox(16, 24)
    assert torch.equal(letterbox(frames.view(2, 3, 8, 10, 3)).view(6, 16, 24, 3), letterbox(frames))
    assert torch.equal(letterbox(frames[4]), letterbox(frames)[4])


def test_frames_that_fit_are_left_alone() -> None:
    frame = picture(32, 48)
    assert torch.equal(Letterbox(32, 48)(frame), frame)
    assert torch.equal(Letterbox(40, 48).crop_box(32, 48).crop(Letterbox(40, 48)(frame)), frame)


def test_cropping_takes_the_middle() -> None:
    frame = picture(30, 80)
    middle = Letterbox(30, 40, content=(30, 40), aspect=4 / 3)(frame)
    assert torch.equal(middle, frame[:, 20:60])
    tall = frame.transpose(0, 1).contiguous()
    assert torch.equal(Letterbox(22, 30, aspect=30 / 22)(tall), tall[29:51])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0, "width": 5}, "height and width of 1 or more"),
        ({"height": 5, "width": 5, "content": (6, 5)}, "content no larger"),
        ({"height": 5, "width": 5, "aspect": 0.0}, "aspect: expected a positive number"),
    ],
)
def test_sizes_that_cannot_be(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Letterbox(**arguments)


@pytest.mark.parametrize("frames", [torch.zeros(4, 4, 3), torch.zeros(4, 4, 1, dtype=torch.uint8)])
def test_frames_of_another_kind(frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[\.\.\. h w 3\]"):
        Letterbox(8, 8)(frames)


def test_published_films_have_their_bars_there(real_data: Path) -> None:
    for name, letterbox, size in (("rt1", rt1.PUBLISHED, (256, 320)), ("csgo", csgo.PUBLISHED, (150, 280))):
        path = next((real_data / "published_rollouts" / name).glob("*/gt_video.mp4"))
        film = torch.from_numpy(read_video(path, 0, 2, 3.0))
        box = letterbox.crop_box(*size)
        inside = box.crop(film).float()
        assert (film.float().sum() - inside.sum()) / film.numel() < 0.5
        for edge in (inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]):
            assert edge[:, 60:260].mean() > 15
