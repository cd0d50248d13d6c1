"""The two CLIP towers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conditioning.golden import Golden
from world_model.checkpoints.clip_keys import map_image_tower, map_text_tower
from world_model.conditioning.clip import (
    ImageTower,
    ImageTowerConfig,
    TextTower,
    TextTowerConfig,
    empty_caption_ids,
)
from world_model.conditioning.clip_preprocess import PIXEL_MEAN, PIXEL_STD

IMAGE = ImageTowerConfig(width=64, layers=3, head_width=16, patch_size=14, image_size=56)
TEXT = TextTowerConfig(width=32, layers=3, heads=2, vocab_size=300)


@pytest.fixture(scope="module")
def golden(reference: Path) -> Golden:
    return Golden(reference, "clip_towers")


def test_image_tokens_match_the_reference(golden: Golden) -> None:
    tower = ImageTower(IMAGE)
    tower.load_state_dict(map_image_tower(golden.weights))
    tokens = tower.eval().double()(_frames(golden["image_normalised"].double()))
    assert tokens.shape == (2, IMAGE.num_tokens, IMAGE.width)
    assert _relative_error(tokens, golden["vision_tokens"]) <= 1e-4


def test_text_tokens_match_the_reference(golden: Golden) -> None:
    tower = TextTower(TEXT)
    tower.load_state_dict(map_text_tower(golden.weights))
    assert _relative_error(tower.eval()(golden["text_tokens"]), golden["text_penultimate"]) <= 1e-4


def test_only_the_last_text_block_is_left_out(golden: Golden) -> None:
    """With one more block behind it, the reference's last block becomes the one before the last."""
    block = "transformer.resblocks."
    extra = {key.replace(f"{block}2.", f"{block}3."): value for key, value in golden.weights.items() if block in key}
    tower = TextTower(TextTowerConfig(width=32, layers=4, heads=2, vocab_size=300))
    tower.load_state_dict(map_text_tower({**extra, **golden.weights}))
    assert _relative_error(tower.eval()(golden["text_tokens"]), golden["text_last"]) <= 1e-4


def test_towers_made_without_memory_work_once_they_have_weights(golden: Golden) -> None:
    with torch.device("meta"):
        image, text = ImageTower(IMAGE).eval(), TextTower(TEXT).eval()
    image.load_state_dict(map_image_tower(golden.weights), assign=True)
    text.load_state_dict(map_text_tower(golden.weights), assign=True)
    assert not image(torch.zeros(1, 3, 40, 64)).is_meta
    assert not text(golden["text_tokens"]).is_meta


def test_the_image_tower_runs_in_half_precision() -> None:
    tower = ImageTower(ImageTowerConfig(width=32, layers=1, head_width=16, patch_size=14, image_size=28)).eval()
    frames = torch.rand(2, 3, 40, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = tower(frames)
    half = tower.bfloat16()(frames)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, atol=0.1, rtol=0.1)


def test_captions_are_read_forwards_only() -> None:
    tower = TextTower(TextTowerConfig(width=16, layers=2, heads=2, vocab_size=20, context_length=8)).eval()
    ids = torch.arange(8)[None]
    changed = ids.clone()
    changed[0, 5] = 15
    before, after = tower(ids), tower(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


def test_the_empty_caption_is_start_end_and_zeros() -> None:
    ids = empty_caption_ids()
    assert ids.shape == (1, 77) and ids.dtype == torch.int64
    assert ids[0, :2].tolist() == [49406, 49407] and not ids[0, 2:].any()


def test_wrong_input_and_configs_are_named() -> None:
    with pytest.raises(ValueError, match=r"token numbers: expected \[b 77\], got \[77\]; pad"):
        TextTower(TEXT)(torch.zeros(77, dtype=torch.int64))
    with pytest.raises(ValueError, match="width: expected a multiple of head_width=48, got 64"):
        ImageTowerConfig(width=64, head_width=48)
    with pytest.raises(ValueError, match="image_size: expected a multiple of patch_size=16, got 60"):
        ImageTowerConfig(image_size=60, patch_size=16)
    with pytest.raises(ValueError, match="width: expected a multiple of heads=3, got 64"):
        TextTowerConfig(width=64, heads=3)
    with pytest.raises(ValueError, match="layers: expected 2 or more"):
        TextTowerConfig(layers=1)


def _frames(pixels: Tensor) -> Tensor:
    """Frames in [-1, 1] that normalise to `pixels`."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    return (pixels * std + mean) * 2 - 1


def _relative_error(ours: Tensor, golden: Tensor) -> float:
    """Size of the difference in units of the golden tokens.

    The golden weights of the image tower give attention logits of up to 275, where float32 itself, the golden's too,
    is good to 7e-5 in this unit. So ours runs in float64, which is exact on every machine, and 1e-4 still tells a
    wrong eps of the norms (1.1e-4) or another GELU (2.5e-2). Text is tamer: 1e-5 in float32.
    """
    assert ours.shape == golden.shape
    return float((ours.detach() - golden).norm() / golden.norm())
