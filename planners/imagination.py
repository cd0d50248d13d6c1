"""Imagining what candidates lead to: one shared past, one shared noise, as many at once as memory allows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from planners.objective import Objective, Outcome
from world_model.model import SamplingConfig, WorldModel
from world_model.network.cache import Entry, FrameLog
from world_model.types import WorldState

# Feature maps at full resolution that are alive at once in a pass, measured on the shipped model and rounded up.
LIVE_MAPS = 24


@dataclass
class Imagination:
    """Candidates ``[b n h a]`` imagined from ``state`` (of ``b`` environments).

    All candidates of an environment, in all rounds of a search, meet the same noise: it is drawn from the
    environment's seed each time. Costs then differ because of the actions alone, and the same question gives the same
    answer.

    Attributes:
        sampling: how frames are denoised; ``None`` for the model's own settings.
        memory: bytes that candidates may take at a time.
        imagined_steps: steps of the world model so far, every candidate's counted.
    """

    model: WorldModel
    state: WorldState
    seeds: Sequence[int]
    sampling: SamplingConfig | None
    memory: float
    imagined_steps: int = 0
    _settled: WorldState | None = None
    _first: WorldState | None = None

    def costs(self, objective: Objective, actions: Tensor, deadline: float | None = None) -> Tensor:
        """Costs ``[b n]`` on the CPU, without gradients; not finite numbers become infinite.

        Args:
            deadline: of :func:`time.perf_counter`; candidates that are not begun by then cost infinitely much, except
                the first ones.
        """
        costs = torch.full(actions.shape[:2], float("inf"))
        with torch.no_grad():
            for part in self.chunks(actions):
                if part.start and deadline is not None and time.perf_counter() > deadline:
                    break
                outcome = self.outcome(actions[:, part])
                costs[:, part] = objective(outcome).float().cpu()
        return torch.where(costs.isfinite(), costs, torch.inf)

    def outcome(self, actions: Tensor) -> Outcome:
        """Imagine candidates all at once; gradients flow if they are on."""
        b, n, h = actions.shape[:3]
        steps = rearrange(actions, "b n h a -> (b n) h a").to(self.state.latent.device)
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds for _ in range(n)]
        state, latents, memories = self._start().repeat(n), [], []
        for action in steps.unbind(1):
            state, latent = self.model.step(state, action, generators, self.sampling)
            latents.append(rearrange(latent, "(b n) c y x -> b n c y x", b=b))
            if state.memory is not None:
                memories.append(rearrange(state.memory, "(b n) d -> b n d", b=b))
        self.imagined_steps += b * n * h
        steps = rearrange(steps, "(b n) h a -> b n h a", b=b)
        known = self.state.action_mask.bool()[:, None, None]
        before = torch.where(known, self.state.action[:, None].to(steps), steps[:, :, 0])
        remembered = torch.stack(memories, dim=2) if memories else None
        return Outcome(torch.stack(latents, dim=2), steps, before, self.model, memories=remembered)

    def _start(self) -> WorldState:
        """The state with its newest frame in the memory: one pass for all candidates of all rounds."""
        if self._settled is None:
            generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
            with torch.no_grad():
                self._settled = self.model.settle(self.state, generators, self.sampling)
        return self._settled

    def chunks(self, actions: Tensor, with_gradients: bool = False) -> Iterator[slice]:
        """Candidates to imagine together, of every environment at least one."""
        b, n, h = actions.shape[:3]
        size = int(self.memory / (b * self.bytes_per_candidate(h, with_gradients)))
        size = max(1, min(n, size))
        even = -(-n // -(-n // size))  # as many parts as that takes, all of one size
        return (slice(start, min(start + even, n)) for start in range(0, n, even))

    def bytes_per_candidate(self, horizon: int, with_gradients: bool = False) -> int:
        """An estimate: what it remembers of its own frames, the activations of a pass, and the frames."""
        config, latent = self.model.config, self.state.latent[0]
        slots = min(2 * (horizon + 1), 2 * config.window)  # buffers grow by doubling
        remembered = 0
        for entry in self._entries():
            tensor, frames = (entry.buffer, slots) if isinstance(entry, FrameLog) else (entry, entry.shape[1])
            remembered += frames * tensor.shape[2:].numel() * tensor.element_size()
        passed = config.window if self.model.recomputes else 2
        passed += (self.sampling or config.sampling).guidance_scale != 1
        _, height, width = config.latent_shape
        activations = LIVE_MAPS * passed * config.network.model_channels * height * width * latent.element_size()
        return remembered + activations * (horizon if with_gradients else 1) + horizon * latent.nbytes

    def _entries(self) -> tuple[Entry, ...]:
        """What the network remembers; of a state that has no past yet, what it will remember after a step."""
        if self.state.cache.entries:
            return self.state.cache.entries
        if self._first is None:
            state, generator = self.state.select([0]), torch.Generator().manual_seed(0)
            with torch.no_grad():
                self._first, _ = self.model.step(state, torch.zeros_like(state.action), generator, self.sampling)
        return self._first.cache.entries
