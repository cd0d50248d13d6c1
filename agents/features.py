"""A small convolutional feature extractor: less than half the cost of SB3's ``NatureCNN``, and for latents too.

SB3 stores an agent's extractor class in its ``.zip``. That of this module is stored by value, so that the file loads
where this package is not installed; but Python's byte code is its version's own, so only under the same Python 3.x.
``NatureCNN`` and ``FlattenExtractor``, SB3's own, load everywhere.
"""

from __future__ import annotations

import sys

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class SmallCNN(BaseFeaturesExtractor):
    """Strided convolutions down to at most 4x4, then one linear layer.

    Frames of 32x32 and more are first cut into patches of 4x4.

    Args:
        observation_space: Channels first, uint8 frames ``[c h w]`` (SB3 scales them to [0, 1]) or float latents.
        features_dim: Numbers that come out.
        channels: Of the first layer; every further one has twice as many.
    """

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 256, channels: int = 16) -> None:
        super().__init__(observation_space, features_dim)
        depth, height, width = observation_space.shape
        patch = 4 if min(height, width) >= 32 else 1
        layers: list[nn.Module] = [nn.Conv2d(depth, channels, max(patch, 3), patch, int(patch == 1)), nn.ReLU()]
        size = max(height, width) // patch
        while size > 4:
            layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.ReLU()]
            channels, size = 2 * channels, (size + 1) // 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            length = self.layers(torch.zeros(1, depth, height, width)).shape[1]
        self.linear = nn.Sequential(nn.Linear(length, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layers(observations))


cloudpickle.register_pickle_by_value(sys.modules[__name__])
