"""The convolutions of VGG-16 and AlexNet, cut where LPIPS looks at them. Names of weights are torchvision's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Net = Literal["vgg", "alex"]


@dataclass(frozen=True)
class Conv:
    """A convolution followed by a ReLU."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class Pool:
    """Maximum over squares of `kernel` pixels, two apart."""

    kernel: int


_VGG = (
    *(Conv(64), Conv(64), Pool(2), Conv(128), Conv(128), Pool(2)),
    *(Conv(256), Conv(256), Conv(256), Pool(2)),
    *(Conv(512), Conv(512), Conv(512), Pool(2), Conv(512), Conv(512), Conv(512)),
)
_ALEX = (
    *(Conv(64, 11, 4, 2), Pool(3), Conv(192, 5, 1, 2), Pool(3)),
    *(Conv(384), Conv(256), Conv(256)),
)

LAYERS: dict[Net, tuple[Conv | Pool, ...]] = {"vgg": _VGG, "alex": _ALEX}
TAPS: dict[Net, tuple[int, ...]] = {"vgg": (2, 4, 7, 10, 13), "alex": (1, 2, 3, 4, 5)}
"""After which convolution, counted from 1, features are taken."""


class Backbone(nn.Module):
    """Images [n 3 h w] to the feature maps [n c h' w'] at a network's taps."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        self.channels: list[int] = []
        channels, convolutions = 3, 0
        for layer in LAYERS[net]:
            if isinstance(layer, Pool):
                layers.append(nn.MaxPool2d(layer.kernel, stride=2))
                continue
            layers += [nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.padding), nn.ReLU()]
            channels, convolutions = layer.channels, convolutions + 1
            if convolutions in TAPS[net]:
                self.ends.append(len(layers) - 1)
                self.channels.append(channels)
        self.features = nn.ModuleList(layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for index, layer in enumerate(self.features):
            images = layer(images)
            if index in self.ends:
                maps.append(images)
        return maps
