"""The two random streams of one sub-environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.utils import seeding


@dataclass(frozen=True, eq=False)
class RngState:
    """Where the streams of one sub-environment stand: a value, shared freely between copies."""

    numpy_state: Any
    torch_state: torch.Tensor
    seed: int


class SubEnvRng:
    """NumPy draws where an episode starts, torch (on the CPU, on every device) draws the noise of its frames.

    Both follow from one seed, so a sub-environment's draws do not depend on its neighbours, the batch size or the
    device. A stream restored from a state is built when first drawn from: forks must cost nothing.
    """

    def __init__(self, numpy: np.random.Generator, seed: int = -1) -> None:
        """Take over a NumPy generator; the torch stream is seeded by its next draw."""
        self.seed = seed
        self._state: RngState | None = None
        self._numpy: np.random.Generator | None = numpy
        self._torch: torch.Generator | None = torch.Generator().manual_seed(int(numpy.integers(2**63)))

    @classmethod
    def from_seed(cls, seed: int | None) -> SubEnvRng:
        """Seed as Gymnasium does; ``None`` draws a seed from the operating system."""
        numpy, actual_seed = seeding.np_random(seed)
        return cls(numpy, actual_seed)

    @classmethod
    def from_state(cls, state: RngState) -> SubEnvRng:
        rng = cls.__new__(cls)
        rng.seed, rng._state, rng._numpy, rng._torch = state.seed, state, None, None
        return rng

    def state(self) -> RngState:
        if self._state is not None and self._numpy is None and self._torch is None:
            return self._state
        return RngState(self.numpy.bit_generator.state, self.torch.get_state(), self.seed)

    @property
    def numpy(self) -> np.random.Generator:
        if self._numpy is None:
            assert self._state is not None
            bits = np.random.PCG64(0)
            bits.state = self._state.numpy_state
            self._numpy = np.random.Generator(bits)
        return self._numpy

    @property
    def torch(self) -> torch.Generator:
        if self._torch is None:
            assert self._state is not None
            self._torch = torch.Generator()
            self._torch.set_state(self._state.torch_state)
        return self._torch
