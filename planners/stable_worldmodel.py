"""The world model as the cost that the solvers of the package stable-worldmodel minimise (Maes et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from planners.goal_image import GoalImage
from planners.imagination import Imagination
from planners.objective import Objective
from planners.search_space import BoxSpace
from v2w_env.frames import to_pixels
from world_model.model import SamplingConfig, WorldModel
from world_model.types import WorldState

Info: TypeAlias = dict[str, Any]
ObjectiveFactory: TypeAlias = Callable[[WorldModel, np.ndarray], Objective]


class StableWorldModelCost:
    """Answers ``get_cost(info_dict, action_candidates [B S H A]) -> [B S]`` for a solver of stable-worldmodel, and its
    protocol ``Dynamics`` (``encode``, ``rollout``) for those who bring an objective of theirs.

    ``info_dict`` holds ``pixels`` and ``goal``, images ``[B S T ...]`` (a solver repeats them ``S`` times; only the
    first copy is read) in either order of axes: uint8, or floats in [-1, 1]. With ``T`` > 1 frames of context,
    ``action_history [B S T-1 A]`` holds the actions between them. Nothing is kept between calls.

    Args:
        model: world model.
        objective: makes what is minimised out of the goals uint8 ``[B h w 3]``; latents of the last frame if ``None``.
        to_actions: from the solver's numbers ``[... a]`` to the environment's units. By default -1 to 1 is the range of
            a bounded action (what is outside is put onto the bound), and discrete actions are indices (one-hot choices
            are understood too). Give the inverse of your normaliser if the policy has one.
        action_block: actions of the environment within one of the solver's, ``A = action_block * a``.
        sampling: how frames are denoised; ``None`` for the model's own settings.
        seed: of the noise, the same in each call.
        memory_gib: GiB that candidates may take at a time.
    """

    # No `parameters`: solvers would take the type of their candidates from there, and bfloat16 is too coarse for
    # actions. No `get_action`: they would take the world model for an actor.

    def __init__(
        self,
        model: WorldModel,
        objective: ObjectiveFactory | None = None,
        to_actions: Callable[[Tensor], Tensor] | None = None,
        action_block: int = 1,
        sampling: SamplingConfig | None = None,
        seed: int = 0,
        memory_gib: float = 2.0,
    ) -> None:
        if action_block < 1:
            raise ValueError(f"action_block: expected 1 or more, got {action_block}")
        spec = model.config.actions
        if to_actions is None:
            to_actions = BoxSpace(spec).to_actions if spec.kind == "box" else lambda numbers: numbers.round()
        self.model, self.to_actions, self.action_block = model, to_actions, action_block
        self.objective: ObjectiveFactory = objective or GoalImage
        self.sampling, self.seed, self.memory = sampling, seed, memory_gib * 2**30

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs ``[B S]``; gradients flow to the candidates if they ask for them.

        Raises:
            ValueError: missing or misshapen entries.
        """
        actions = self._actions(action_candidates)
        objective = self.objective(self.model, to_pixels(self._frames(info_dict, "goal")[:, -1]))
        imagination = self._imagination(info_dict, len(actions))
        wanted = actions.requires_grad and torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted):
            parts = imagination.chunks(actions, with_gradients=wanted)
            costs = torch.cat([objective(imagination.outcome(actions[:, part])) for part in parts], dim=1)
        return torch.where(costs.isfinite(), costs, torch.inf).to(action_candidates)

    def criterion(self, info_dict: Mapping[str, Any], action_candidates: Tensor | None = None) -> Tensor:
        """Costs ``[B S]`` of what :meth:`rollout` has imagined: mean squared difference of the last frame's latent from
        ``goal_emb [B T d]``."""
        missing = [key for key in ("predicted_emb", "goal_emb") if key not in info_dict]
        if missing:
            raise ValueError(f"info_dict: expected {' and '.join(missing)}; call rollout, and encode the goal, first")
        return (info_dict["predicted_emb"][:, :, -1] - info_dict["goal_emb"][:, None, -1]).square().mean(-1)

    def encode(self, x: Info) -> Info:
        """``x`` with ``emb [B T d]``, the flattened latents of ``pixels [B T ...]``."""
        pixels = {"pixels": torch.as_tensor(x["pixels"])[:, None]}
        return {**x, "emb": self.model.encode(self._frames(pixels, "pixels")).flatten(2)}

    def rollout(self, info_dict: Info, action_candidates: Tensor) -> Info:
        """``info_dict`` with ``predicted_emb [B S T+h d]``: flattened latents of context and imagined frames."""
        actions = self._actions(action_candidates)
        imagination = self._imagination(info_dict, len(actions))
        context = self.model.encode(self._frames(info_dict, "pixels")).flatten(2)
        wanted = actions.requires_grad and torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted):
            parts = [imagination.outcome(actions[:, part]).latents for part in imagination.chunks(actions, wanted)]
        imagined = torch.cat(parts, dim=1).flatten(3)
        context = context[:, None].expand(-1, imagined.shape[1], -1, -1)
        return {**info_dict, "predicted_emb": torch.cat([context, imagined], dim=2)}

    def _imagination(self, info: Mapping[str, Any], batch: int) -> Imagination:
        seeds = [self.seed + row for row in range(batch)]
        state = self._state(info, batch, seeds)
        return Imagination(self.model, state, seeds, self.sampling, self.memory)

    def _state(self, info: Mapping[str, Any], batch: int, seeds: list[int]) -> WorldState:
        frames = self._frames(info, "pixels")
        if len(frames) != batch:
            raise ValueError(f"pixels: expected {batch} environments as in action_candidates, got {len(frames)}")
        steps = frames.shape[1] - 1
        past = frames.new_zeros(batch, 0, self.model.config.actions.size)
        if steps and self.action_block > 1:  # frames lie further apart than the world model's
            frames = frames[:, -1:]
        elif steps:
            if "action_history" not in info:
                raise ValueError(f"action_history: expected the {steps} actions between the frames of pixels, got none")
            past = self._actions(torch.as_tensor(info["action_history"])[:, :1])[:, 0].to(frames.device)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with torch.no_grad():
            return self.model.start(frames, past, generators, self.sampling)

    def _frames(self, info: Mapping[str, Any], key: str) -> Tensor:
        """Images ``[B S T ...]``, or ``[B S ...]``, of the first copy as the model sees them: ``[B T 3 h w]``."""
        if key not in info:
            raise ValueError(f"info_dict: expected {key!r}, got {', '.join(info)}")
        images = torch.as_tensor(info[key]).to(self.model.device)[:, 0]
        images = images[:, None] if images.ndim == 4 else images
        if images.ndim == 5 and images.shape[-1] == 3 and images.shape[2] != 3:
            images = images.movedim(-1, 2)
        if images.ndim != 5 or images.shape[2] != 3:
            raise ValueError(
                f"{key}: expected images [B S T 3 h w] or [B S T h w 3], got {tuple(torch.as_tensor(info[key]).shape)}"
            )
        frames = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images.float()
        if frames.abs().amax() > 1 + 1e-3:
            raise ValueError(f"{key}: expected uint8, or floats in [-1, 1], got floats up to {frames.abs().amax():.3g}")
        size = self.model.config.frame_size
        if tuple(frames.shape[-2:]) != size:
            flat = F.interpolate(frames.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
            frames = flat.unflatten(0, tuple(frames.shape[:2]))
        return frames

    def _actions(self, candidates: Tensor) -> Tensor:
        """``[B S H block*a]`` to ``[B S H*block a]``, in the world model's form; choices may come one-hot."""
        spec, block = self.model.config.actions, self.action_block
        one_hot = spec.kind == "discrete" and candidates.ndim == 4 and candidates.shape[-1] == block * spec.nvec[0]
        columns = spec.nvec[0] if one_hot else spec.size
        if candidates.ndim != 4 or candidates.shape[-1] != columns * block or not candidates.numel():
            raise ValueError(
                f"action_candidates: expected [B S H {columns * block}], none of them 0, got {tuple(candidates.shape)}"
            )
        numbers = rearrange(candidates, "b s h (k a) -> b s (h k) a", k=block)
        actions = numbers.argmax(-1, keepdim=True) if one_hot else self.to_actions(numbers)
        return actions.long() if spec.is_integer else actions.float()
