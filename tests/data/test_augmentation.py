"""Augmented clips: one draw per clip, within its bounds, repeatable."""

from __future__ import annotations

import colorsys

import pytest
import torch

from world_model.data import Augmentation
from world_model.data.augmentation import turn_hue


def clips(b: int = 3, t: int = 4, h: int = 10, w: int = 12) -> torch.Tensor:
    return torch.randint(256, (b, t, h, w, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_draw_follows_from_the_generator() -> None:
    augment = Augmentation()
    assert torch.equal(augment(clips(), generator(1)), augment(clips(), generator(1)))
    assert not torch.equal(augment(clips(), generator(1)), augment(clips(), generator(2)))


def test_all_frames_of_a_clip_are_changed_alike_and_clips_differently() -> None:
    still = clips(1, 1).expand(3, 4, -1, -1, -1)
    changed = Augmentation()(still, generator())
    assert (changed == changed[:, :1]).all()
    assert not torch.equal(changed[0], changed[1]) and not torch.equal(changed[1], changed[2])


def test_nothing_is_changed_where_nothing_may_be() -> None:
    assert torch.equal(Augmentation(jitter=0, hue=0, shift=0)(clips(), generator()), clips())


def test_brightness_contrast_and_saturation_stay_within_their_bounds() -> None:
    grey = torch.full((200, 1, 4, 4, 3), 100, dtype=torch.uint8)
    levels = Augmentation(hue=0)(grey, generator())[:, 0, 0, 0, 0]
    assert levels.min() >= 90 and levels.max() <= 110  # a flat grey frame has no contrast and no colour
    assert levels.min() < 93 and levels.max() > 107


def test_black_stays_black() -> None:
    dark = torch.zeros(5, 1, 6, 6, 3, dtype=torch.uint8)
    assert not Augmentation()(dark, generator()).any()


def test_a_shift_moves_the_picture_and_mirrors_its_edge() -> None:
    row = torch.arange(8, dtype=torch.uint8) * 10
    ramp = row[None, None, None, :, None].expand(40, 1, 8, 8, 3).contiguous()
    moved = Augmentation(jitter=0, hue=0, shift=2)(ramp, generator())[:, 0, 0, :, 0].tolist()
    wanted = {-2: [20, 10, 0, 10, 20, 30, 40, 50], -1: [10, 0, 10, 20, 30, 40, 50, 60], 0: row.tolist()}
    wanted |= {1: [10, 20, 30, 40, 50, 60, 70, 60], 2: [20, 30, 40, 50, 60, 70, 60, 50]}
    assert {tuple(line) for line in moved} == {tuple(line) for line in wanted.values()}


@pytest.mark.parametrize("turn", [-0.05, 0.0, 0.05, 0.3, 0.5])
def test_hues_are_turned_as_the_standard_library_turns_them(turn: float) -> None:
    colours = torch.rand(50, 3, generator=generator())
    colours[:4] = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]])
    turned = turn_hue(colours.T[:, :, None], torch.tensor(turn))[..., 0].T
    for colour, result in zip(colours.tolist(), turned.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        assert result == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-5)


@pytest.mark.parametrize("settings", [{"jitter": 1.0}, {"hue": 0.6}, {"shift": -1}])
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(ValueError, match="augmentation: expected"):
        Augmentation(**settings)


def test_clips_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[b t h w 3\]"):
        Augmentation()(clips().float(), generator())
