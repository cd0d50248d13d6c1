"""Ways around work that a network need not do, against that work."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from world_model.network.blocks import Planes
from world_model.network.time import dot_product_attention, few_queries_attention


def planes(action: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Feature maps ``[(b f) 2+k h w]``: y, x, and each frame's action everywhere."""
    y = ((torch.arange(height) + 0.5) * 2 / height - 1)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) * 2 / width - 1).expand(height, width)
    frames = action.flatten(0, 1)[..., None, None].expand(-1, -1, height, width)
    return torch.cat([torch.stack([y, x]).expand(len(frames), -1, -1, -1), frames], dim=1)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 2)])
def test_planes_that_are_never_made_are_convolved_as_if_they_were(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    action = torch.randn(2, 3, 5)
    wide, pointwise = nn.Conv2d(7, 6, 3, padding=1), nn.Conv2d(7, 6, 1)
    made = planes(action, *size)
    of_frames, of_places = Planes(action).modulation(pointwise, *size)
    torch.testing.assert_close(of_frames + of_places, pointwise(made))
    expected = F.conv2d(made, wide.weight, padding=1)
    torch.testing.assert_close(Planes(action).convolved(wide.weight, *size), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_few_queries_are_answered_as_many_are(frames: int, masked: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, length, 10, 4, requires_grad=True) for length in (frames, 7, 7))
    mask = None
    if masked:
        mask = torch.rand(3, 1, frames, 7) < 0.5
        mask[..., -1] = True
    ours = few_queries_attention(q, k, v, mask)
    theirs = dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    of_all = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), of_all), torch.autograd.grad(theirs, (q, k, v), of_all), strict=True
    ):
        torch.testing.assert_close(mine, other)
