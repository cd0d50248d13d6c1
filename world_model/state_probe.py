"""What latents say of the simulator's state: a small network that reads numbers, such as positions, off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from world_model.exact import ExactModule

SMALLEST_SIDE = 4  # of the map that is flattened: coarse, but where things are still counts
DOUBTS = (-6.0, 2.0)  # logarithms of the smallest and the largest deviation of an error, in those of the recording


@dataclass(frozen=True)
class StateProbeConfig:
    """What a probe reads, and its size.

    Attributes:
        infos: entries that the recording has beside its frames (`Episode.infos`); a state is all of them in a row.
        sizes: how many numbers each has; a state has ``d`` in all.
        angles: which of the ``d`` numbers are angles in radians.
        channels: of the first convolutions; coarser ones have twice as many.
        features: length of the last hidden layer.
    """

    infos: tuple[str, ...]
    sizes: tuple[int, ...]
    angles: tuple[int, ...] = ()
    channels: int = 32
    features: int = 128

    def __post_init__(self) -> None:
        if not self.infos or len(self.infos) != len(self.sizes) or min(self.sizes) < 1:
            raise ValueError(
                f"state_probe: expected infos and how many numbers each has, got {list(self.infos)} and "
                f"{list(self.sizes)}"
            )
        if len(set(self.angles)) < len(self.angles) or not all(0 <= place < self.length for place in self.angles):
            raise ValueError(
                f"state_probe.angles: expected places in a state of {self.length} numbers (from 0), each once, got "
                f"{list(self.angles)}"
            )
        if self.channels < 1 or self.channels % 4:
            raise ValueError(f"state_probe.channels: expected a multiple of 4, got {self.channels}")
        if self.features < 1:
            raise ValueError(f"state_probe.features: expected 1 or more, got {self.features}")

    def reads_the_same(self, other: StateProbeConfig) -> bool:
        """Whether states of the other probe are made of the same numbers."""
        return (self.infos, self.sizes, self.angles) == (other.infos, other.sizes, other.angles)

    @property
    def length(self) -> int:
        """``d``, how many numbers a state has."""
        return sum(self.sizes)

    @property
    def names(self) -> list[str]:
        """One name per number: ``pos_agent.0``, ``pos_agent.1``, ..."""
        pairs = zip(self.infos, self.sizes, strict=True)
        return [name if size == 1 else f"{name}.{i}" for name, size in pairs for i in range(size)]


class StateProbe(ExactModule):
    """Latent frames ``[n c h w]`` to the states ``[n d]`` that they show, in the recording's own units, and to how far
    these are likely to be off.

    Angles are learned as sine and cosine, and come out between -pi and pi.

    Args:
        config: what it reads.
        latent_shape: ``(c, h, w)`` of a latent frame.

    Attributes:
        mean, deviation: ``[d]`` of the recorded states; 0 and 1 for angles.
    """

    mean: Tensor
    deviation: Tensor
    places: Tensor

    def __init__(self, config: StateProbeConfig, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.length))
        self.register_buffer("deviation", torch.ones(config.length))
        self.register_buffer("places", _places(*latent_shape[1:]), persistent=False)
        self.look = _look(config, latent_shape)
        self._straight = [place for place in range(config.length) if place not in config.angles]
        self._turning = list(config.angles)

    def set_statistics(self, states: Tensor) -> None:
        """Start from the recorded states ``[n d]``: their mean and spread."""
        self.mean.copy_(states.mean(0))
        self.deviation.copy_(states.std(0, correction=0).clamp_min(1e-6))
        self.mean[self._turning], self.deviation[self._turning] = 0.0, 1.0

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """``[n c h w]`` -> states ``[n d]``, and the standard deviations ``[n d]`` of the errors to be expected."""
        outputs, doubts = self.outputs(latents)
        return self.states(outputs), self.deviation * doubts.exp()

    def outputs(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """What training looks at: ``[n k]``, standardised numbers and then the sines and the cosines of the angles; and
        ``[n d]``, logarithms of the deviations of the states' errors, standardised too."""
        latents = latents.float()
        places = self.places.expand(len(latents), -1, -1, -1)
        found = self.look(torch.cat([latents, places], dim=1))
        outputs, doubts = found.split([found.shape[1] - self.config.length, self.config.length], dim=1)
        return outputs, doubts.clamp(*DOUBTS)

    def states(self, outputs: Tensor) -> Tensor:
        """``[n k] -> [n d]``: the states that outputs stand for."""
        count = len(self._straight)
        sine, cosine = outputs[:, count:].chunk(2, dim=1)
        columns = torch.cat([outputs[:, :count], torch.atan2(sine, cosine)], dim=1)
        back = torch.tensor([*self._straight, *self._turning], device=columns.device).argsort()
        return self.mean + self.deviation * columns[:, back]

    def targets(self, states: Tensor) -> Tensor:
        """What :meth:`outputs` should be for frames of the states ``[n d]``."""
        angles = states[:, self._turning]
        standard = ((states - self.mean) / self.deviation)[:, self._straight]
        return torch.cat([standard, angles.sin(), angles.cos()], dim=1)

    def difference(self, states: Tensor, others: Tensor) -> Tensor:
        """``states - others [... d]``, of angles the shorter way round."""
        apart = states - others
        turning = torch.zeros(self.config.length, dtype=torch.bool, device=apart.device)
        turning[self._turning] = True
        return torch.where(turning, torch.remainder(apart + math.pi, 2 * math.pi) - math.pi, apart)


def _places(height: int, width: int) -> Tensor:
    """``[1 2 height width]``: how far down and how far right, from -1 to 1."""
    down, right = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack([down[:, None].expand(height, width), right.expand(height, width)])[None]


def _look(config: StateProbeConfig, latent_shape: tuple[int, int, int]) -> nn.Sequential:
    channels, height, width = latent_shape
    out = config.channels
    layers = [*_convolution(channels + 2, out, 1), *_convolution(out, out, 1)]
    before, out = out, 2 * out
    while min(height, width) > SMALLEST_SIDE:
        layers += [*_convolution(before, out, 2), *_convolution(out, out, 1)]
        before, height, width = out, -(-height // 2), -(-width // 2)
    hidden = [nn.Flatten(), nn.Linear(before * height * width, config.features), nn.SiLU()]
    return nn.Sequential(*layers, *hidden, nn.Linear(config.features, 2 * config.length + len(config.angles)))


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
