"""What a plan should achieve: costs of imagined steps, added up with weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import torch
from einops import rearrange
from torch import Tensor

from world_model.model import WorldModel
from world_model.types import Generators, WorldState

Over: TypeAlias = Literal["last", "all", "discounted", "best"]

FRAMES_AT_ONCE = 64  # decoded together; more would need memory and save no time


@dataclass(frozen=True, eq=False)
class Outcome:
    """What ``n`` candidates lead to in each of ``b`` environments.

    Attributes:
        latents: ``[b n h c y x]``, the imagined frames, after actions 1 to h.
        actions: ``[b n h a]``, in the world model's own form.
        before: ``[b n a]``, the action before the first of these; where nobody knows it, the first itself.
        model: that imagined them.
        seen: ``[b n h 3 height width]`` in [-1, 1], where the frames are real ones and need no decoding.
        memories: ``[b n h d]``, what the model's reward head remembers after each step; ``None`` where it has none, or
            nobody has kept them.
    """

    latents: Tensor
    actions: Tensor
    before: Tensor
    model: WorldModel
    seen: Tensor | None = None
    memories: Tensor | None = None

    @cached_property
    def frames(self) -> Tensor:
        """``[b n h 3 height width]`` in [-1, 1], decoded when first asked for."""
        if self.seen is not None:
            return self.seen
        flat = rearrange(self.latents, "b n h c y x -> (b n h) 1 c y x")
        frames = torch.cat([self.model.decode(part) for part in flat.split(FRAMES_AT_ONCE)])
        b, n, h = self.latents.shape[:3]
        return rearrange(frames, "(b n h) 1 c y x -> b n h c y x", b=b, n=n, h=h)

    def at(self, steps: Sequence[int]) -> Outcome:
        """Some of the steps, in order."""
        index = list(steps)
        if index == list(range(self.actions.shape[2])):
            return self
        seen, memories = (None if kept is None else kept[:, :, index] for kept in (self.seen, self.memories))
        before = self.actions[:, :, index[0] - 1] if index[0] else self.before
        latents, actions = self.latents[:, :, index], self.actions[:, :, index]
        return replace(self, latents=latents, actions=actions, before=before, seen=seen, memories=memories)


class Objective(ABC):
    """A cost per imagined step, and which steps count. Objectives add up, and are scaled by numbers:
    ``GoalImage(model, goal) + 0.1 * ActionChange(model)``.

    Args:
        over: ``"last"`` judges the last step alone, ``"best"`` the one that costs least (to get there at some time),
            ``"all"`` takes the mean over all steps, ``"discounted"`` a mean in which step ``t`` weighs
            ``discount ** t``.
        discount: above 0, at most 1.
    """

    def __init__(self, over: Over = "all", discount: float = 0.95) -> None:
        if over not in get_args(Over):
            raise ValueError(f"over: expected one of {', '.join(get_args(Over))}, got {over!r}")
        if not 0 < discount <= 1:
            raise ValueError(f"discount: expected a number above 0, at most 1, got {discount}")
        self.over, self.discount = over, discount

    @abstractmethod
    def per_step(self, outcome: Outcome) -> Tensor:
        """The cost ``[b n h]`` of every step of ``outcome``, before :meth:`weights`."""

    def weights(self, horizon: int) -> list[float]:
        """How much each step counts; they add up to 1. Of ``"best"`` all count until it is known which is."""
        if self.over == "last":
            return [0.0] * (horizon - 1) + [1.0]
        raw = [self.discount**t if self.over == "discounted" else 1.0 for t in range(horizon)]
        return [weight / sum(raw) for weight in raw]

    def __call__(self, outcome: Outcome) -> Tensor:
        """Total cost ``[b n]``; steps that do not count are not looked at (nor decoded).

        Raises:
            ValueError: if :meth:`per_step` gives another shape.
        """
        weights = self.weights(outcome.actions.shape[2])
        counting = [step for step, weight in enumerate(weights) if weight]
        part = outcome.at(counting)
        costs = self.per_step(part)
        check_costs(self, costs, part)
        if self.over == "best":
            return costs.amin(-1)
        return (costs * costs.new_tensor([weights[step] for step in counting])).sum(-1)

    def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
        """Actions ``[b count horizon a]`` that may get there, for planners to try; ``None`` where it knows of none."""
        return None

    def select(self, rows: Sequence[int]) -> Objective:
        """The objective of some of the environments, where each has its own (such as a goal)."""
        return self

    def __add__(self, other: Objective) -> WeightedSum:
        if not isinstance(other, Objective):
            return NotImplemented
        return WeightedSum([(1.0, self), (1.0, other)])

    def __mul__(self, weight: float) -> WeightedSum:
        return WeightedSum([(weight, self)])

    __rmul__ = __mul__


class WeightedSum(Objective):
    """Objectives ``(weight, objective)`` added up, each over its own steps."""

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("WeightedSum: expected at least one (weight, objective), got none")
        self.terms: list[tuple[float, Objective]] = []
        for weight, term in terms:  # sums of sums become one
            inner = term.terms if isinstance(term, WeightedSum) else [(1.0, term)]
            self.terms += [(float(weight) * factor, leaf) for factor, leaf in inner]

    def per_step(self, outcome: Outcome) -> Tensor:
        parts = []
        for weight, term in self.terms:
            costs = term.per_step(outcome)
            check_costs(term, costs, outcome)
            parts.append(weight * costs)
        return torch.stack(parts).sum(0)

    def __call__(self, outcome: Outcome) -> Tensor:
        return torch.stack([weight * term(outcome) for weight, term in self.terms]).sum(0)

    def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
        """Of the first term that knows of any."""
        found = (term.suggest(state, horizon, count, generator) for _, term in self.terms)
        return next((actions for actions in found if actions is not None), None)

    def select(self, rows: Sequence[int]) -> WeightedSum:
        return WeightedSum([(weight, term.select(rows)) for weight, term in self.terms])


def check_costs(objective: Objective, costs: Tensor, outcome: Outcome) -> None:
    """Raise :class:`ValueError` unless there is one cost per step of each candidate."""
    expected = tuple(outcome.actions.shape[:3])
    if not isinstance(costs, Tensor) or tuple(costs.shape) != expected:
        got = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
        raise ValueError(
            f"{type(objective).__name__}: expected a tensor of costs per step, shape {expected}, got {got}"
        )
