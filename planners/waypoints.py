"""Searching in blocks of continuous actions through fewer numbers: where each block leads."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from planners.search_space import Bound, BoxSpace, SearchSpace
from world_model.model import WorldModelConfig
from world_model.types import ActionSpec

WithinBlock: TypeAlias = Literal["glide", "hold", "free"]


class WaypointSpace(BoxSpace):
    """Points stand for the last action of each block; the others glide towards it from the last action of the block
    before, or (``"hold"``) are the same.

    Args:
        spec: of blocks, ``length`` actions each.
        within: ``"glide"`` or ``"hold"``.
        low, high: as for :class:`BoxSpace`, of a single action.
    """

    def __init__(
        self, spec: ActionSpec, length: int, within: WithinBlock, low: Bound = None, high: Bound = None
    ) -> None:
        single = spec.size // length
        super().__init__(ActionSpec(spec.kind, (single,), spec.low[:single], spec.high[:single]), low, high)
        steps = torch.arange(1, length + 1) / length
        self.shares = steps if within == "glide" else torch.ones(length)

    def paths(self, points: Tensor, before: Tensor) -> Tensor:
        """Blocks ``[... k length*a]`` that lead through points ``[... k a]``, from the point ``before [... a]``."""
        start = torch.cat([before[..., None, :].expand_as(points[..., :1, :]), points[..., :-1, :]], dim=-2)
        shares = self.shares.to(points)[:, None]
        between = start[..., None, :] + shares * (points - start)[..., None, :]
        return self.to_actions(between).flatten(-2)

    def from_actions(self, actions: Tensor) -> Tensor:
        """Blocks ``[... length*a]`` as points ``[... a]``."""
        return super().from_actions(actions[..., -self.columns :])


def box_space(config: WorldModelConfig, within: WithinBlock, low: Bound, high: Bound) -> SearchSpace:
    """The search space for the actions of a world model: waypoints where these are blocks, unless ``"free"``."""
    if config.action_block > 1 and config.actions.kind == "box" and within != "free":
        return WaypointSpace(config.actions, config.action_block, within, low, high)
    return BoxSpace(config.actions, low, high)
