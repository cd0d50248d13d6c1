"""The one signature that loss, guidance and samplers share."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from world_model.network.cache import NetworkCache
from world_model.network.time import FrameTree
from world_model.types import Conditioning


class Denoiser(Protocol):
    """Predicts v for frames that each have a noise level of their own; see :meth:`CausalUNet.forward`."""

    def __call__(
        self,
        latents: Tensor,
        levels: Tensor,
        cond: Conditioning,
        cache: NetworkCache | None = None,
        tree: FrameTree | None = None,
        commit: int | None = None,
    ) -> tuple[Tensor, NetworkCache | None]: ...
