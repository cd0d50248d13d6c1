"""The frame to be imagined next: what both ways of stepping, streaming and recomputing, start from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class NextFrame:
    """One step's question to the network, with the noise that was drawn for it.

    Attributes:
        past: ``[b 1 c h w]``, the newest known frame as the network is shown it from now on: a little noisy.
        past_level: its noise level.
        action: ``[b a]``, leads from that frame to the one to be imagined.
        noise: ``[b 1 c h w]``, where the denoising starts, already scaled by the temperature.
    """

    past: Tensor
    past_level: int
    action: Tensor
    noise: Tensor
