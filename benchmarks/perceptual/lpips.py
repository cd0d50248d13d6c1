"""LPIPS: learned perceptual image patch similarity (Zhang et al. 2018, version 0.1)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.perceptual.backbones import Backbone, Net
from benchmarks.perceptual.weights import FILES, read_weights

SHIFT = (-0.030, -0.088, -0.188)  # of the channels, for images in [-1, 1]
SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """How different two images look: weighted squared differences of unit-length features, averaged over the image.

    Args:
        backbone: images [n 3 h w] to a list of feature maps [n c h' w'].
        heads: for each map the weights of its channels [c].
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList([nn.Parameter(head, requires_grad=False) for head in heads])
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Images [n 3 h w] in [0, 1] twice -> [n]."""
        pairs = zip(self._maps(first), self._maps(second), self.heads, strict=True)
        distances = [(((a - b) ** 2) * head.view(-1, 1, 1)).sum(1).mean((1, 2)) for a, b, head in pairs]
        return torch.stack(distances).sum(0)

    def _maps(self, images: Tensor) -> list[Tensor]:
        shifted = (images * 2 - 1 - self.shift) / self.scale
        return [
            features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt() for features in self.backbone(shifted)
        ]


def load_lpips(net: Net, folder: Path, device: torch.device | str = "cpu") -> LPIPS:
    """LPIPS with the published weights: the backbone's from `folder`, those of the channels from torchmetrics.

    Raises:
        ValueError: a file is damaged or foreign.
    """
    backbone = Backbone(net)
    path = folder / FILES[f"lpips_{net}"].name
    backbone.load_state_dict(read_weights(path, backbone.state_dict(), ignored=("classifier.",)))
    return LPIPS(backbone, _heads(net, backbone.channels)).to(device).eval()


def _heads(net: Net, channels: Sequence[int]) -> list[Tensor]:
    spec = importlib.util.find_spec("torchmetrics")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
    expected = {f"lin{index}.model.1.weight": torch.empty(1, c, 1, 1) for index, c in enumerate(channels)}
    heads = read_weights(path, expected)
    return [heads[name].flatten() for name in expected]
