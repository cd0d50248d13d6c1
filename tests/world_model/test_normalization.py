"""Group norms are the same whichever way the processor takes them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from world_model.network.normalization import GroupNorm


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_large_features_by_products(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = GroupNorm(4, 16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(32, 16, 16, 16) + offset * torch.randn(1, 16, 1, 1)
    ways = []
    own = GroupNorm._by_products
    monkeypatch.setattr(GroupNorm, "_by_products", lambda self, x: (ways.append("products"), own(self, x))[1])
    ours = x.to(memory_format=torch.channels_last).requires_grad_()
    theirs = x.double().requires_grad_()
    found = norm(ours)
    expected = F.group_norm(theirs, 4, norm.weight.double(), norm.bias.double(), norm.eps)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-3, rtol=1e-3)
    norm(x[:1].to(memory_format=torch.channels_last))  # a small one goes through torch's kernel
    assert ways == ["products"] and found.is_contiguous(memory_format=torch.channels_last)
