"""Inception-v3 as FID uses it: TensorFlow's network of 2015, of which pytorch-fid publishes the weights.

It differs from torchvision's in its average pooling, which leaves out the padding, and in one block that pools by
maximum. Names of weights are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.perceptual.resizing import resize
from benchmarks.perceptual.weights import FILES, read_weights

FEATURES = 2048
INPUT = 299

Kernel = tuple[int, int]
Spec = tuple[int, Kernel, int]
"""Channels, kernel and stride of a convolution. With stride 1 it is padded to keep the size, with 2 not at all."""


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation and ReLU."""

    def __init__(self, channels: int, spec: Spec, padded: bool = True) -> None:
        super().__init__()
        out, kernel, stride = spec
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Several chains of convolutions side by side, and a pooling; their results are stacked along the channels.

    Args:
        channels: of the input.
        chains: convolutions by name, in the order in which they follow each other. A name may have two convolutions,
            "a" and "b", which both see what came before and end the chain.
        pool: the last part; followed by the convolution `branch_pool` if `pool_channels` is not 0.
    """

    def __init__(
        self,
        channels: int,
        chains: Sequence[Mapping[str, Spec]],
        pool: Literal["average", "maximum", "halving"],
        pool_channels: int = 0,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.chains: list[tuple[list[str], list[str]]] = []
        self.out_channels = pool_channels or channels
        for chain in chains:
            width = channels
            ends = [name for name in chain if name.endswith(("a", "b"))]
            line = [name for name in chain if name not in ends]
            for name in line:
                self.add_module(name, Convolution(width, chain[name]))
                width = chain[name][0]
            for name in ends:
                self.add_module(name, Convolution(width, chain[name]))
            self.out_channels += sum(chain[name][0] for name in ends) if ends else width
            self.chains.append((line, ends))
        if pool_channels:
            self.branch_pool = Convolution(channels, (pool_channels, (1, 1), 1))

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for line, ends in self.chains:
            y = x
            for name in line:
                y = self.get_submodule(name)(y)
            results += [self.get_submodule(name)(y) for name in ends] or [y]
        if self.pool == "halving":
            return torch.cat([*results, F.max_pool2d(x, 3, stride=2)], 1)
        if self.pool == "maximum":
            pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        else:
            pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([*results, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """Images [n 3 h w] in [0, 1] to features [n 2048], the mean over the last map ("pool3")."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, (32, (3, 3), 2))
        self.Conv2d_2a_3x3 = Convolution(32, (32, (3, 3), 1), padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, (64, (3, 3), 1))
        self.Conv2d_3b_1x1 = Convolution(64, (80, (1, 1), 1))
        self.Conv2d_4a_3x3 = Convolution(80, (192, (3, 3), 1), padded=False)
        channels = 192
        self.blocks: list[str] = []
        for name, (chains, pool, pool_channels) in _blocks().items():
            block = Block(channels, chains, pool, pool_channels)
            self.add_module(name, block)
            self.blocks.append(name)
            channels = block.out_channels
        assert channels == FEATURES

    def forward(self, images: Tensor) -> Tensor:
        x = resize(images, INPUT, INPUT) * 2 - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def load_inception(folder: Path, device: torch.device | str = "cpu") -> Inception:
    """The network with FID's weights from `folder`.

    Raises:
        ValueError: the file is damaged or foreign.
    """
    network = Inception()
    path = folder / FILES["fid"].name
    tensors = read_weights(path, network.state_dict(), ignored=("fc.", "AuxLogits."))
    network.load_state_dict(tensors, strict=False)  # old files lack `num_batches_tracked`, which nothing reads
    return network.to(device).eval()


def _blocks() -> dict[str, tuple[list[dict[str, Spec]], Literal["average", "maximum", "halving"], int]]:
    """The network after its first five convolutions, from 35x35 over 17x17 to 8x8 pixels."""
    blocks: dict[str, tuple[list[dict[str, Spec]], Literal["average", "maximum", "halving"], int]] = {}
    for name, pool_channels in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        blocks[name] = ([_one(64), _chain("5x5", (48, 1), (64, 5)), _double(64, 96, 96)], "average", pool_channels)
    blocks["Mixed_6a"] = ([{"branch3x3": (384, (3, 3), 2)}, _double(64, 96, 96, stride=2)], "halving", 0)
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        blocks[name] = ([_one(192), _cross(width), _double_cross(width)], "average", 192)
    last: dict[str, Spec] = {f"branch7x7x3_{i}": spec for i, spec in enumerate(_CROSS_192, 1)}
    shrinking: dict[str, Spec] = {"branch3x3_1": (192, (1, 1), 1), "branch3x3_2": (320, (3, 3), 2)}
    blocks["Mixed_7a"] = ([shrinking, {**last, "branch7x7x3_4": (192, (3, 3), 2)}], "halving", 0)
    for name, pool in (("Mixed_7b", "average"), ("Mixed_7c", "maximum")):
        single = _split("branch3x3", {"branch3x3_1": (384, (1, 1), 1)}, 2)
        first: dict[str, Spec] = {"branch3x3dbl_1": (448, (1, 1), 1), "branch3x3dbl_2": (384, (3, 3), 1)}
        double = _split("branch3x3dbl", first, 3)
        blocks[name] = ([_one(320), single, double], pool, 192)  # type: ignore[assignment]
    return blocks


_CROSS_192: tuple[Spec, ...] = ((192, (1, 1), 1), (192, (1, 7), 1), (192, (7, 1), 1))


def _one(channels: int) -> dict[str, Spec]:
    return {"branch1x1": (channels, (1, 1), 1)}


def _chain(label: str, *layers: tuple[int, int]) -> dict[str, Spec]:
    return {f"branch{label}_{i}": (c, (k, k), 1) for i, (c, k) in enumerate(layers, 1)}


def _double(first: int, second: int, third: int, stride: int = 1) -> dict[str, Spec]:
    return {**_chain("3x3dbl", (first, 1), (second, 3)), "branch3x3dbl_3": (third, (3, 3), stride)}


def _cross(width: int) -> dict[str, Spec]:
    return {"branch7x7_1": (width, (1, 1), 1), "branch7x7_2": (width, (1, 7), 1), "branch7x7_3": (192, (7, 1), 1)}


def _double_cross(width: int) -> dict[str, Spec]:
    kernels: tuple[Kernel, ...] = ((1, 1), (7, 1), (1, 7), (7, 1), (1, 7))
    widths = (width, width, width, width, 192)
    return {f"branch7x7dbl_{i}": (c, k, 1) for i, (c, k) in enumerate(zip(widths, kernels, strict=True), 1)}


def _split(label: str, line: dict[str, Spec], number: int) -> dict[str, Spec]:
    return {**line, f"{label}_{number}a": (384, (1, 3), 1), f"{label}_{number}b": (384, (3, 1), 1)}
