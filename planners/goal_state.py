"""Cost of the simulator's state not being the goal's, as far as the world model's probe can read it off the frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from planners.checks import at_least
from planners.goal import Goal
from planners.objective import FRAMES_AT_ONCE, Outcome, Over
from v2w_env.frames import check_frames, to_model
from world_model.diffusion.randomness import draw_noise
from world_model.model import WorldModel
from world_model.types import Generators, WorldState


class GoalState(Goal):
    """Expected squared distance from a goal state, each number in units of its tolerance, on average over the numbers.

    Both sides are read off latents by :class:`~world_model.state_probe.StateProbe`, so no imagined frame is decoded,
    and things that are out of place cost the more the further they are away. Where an imagined frame leaves open what
    happened, as after a wild collision, the probe's doubt adds to the cost: plans are preferred whose outcome is known.

    Args:
        model: world model with a state probe (``v2w train train=probe``).
        goal: an image uint8 ``[h w 3]``, whose state is read, or the state itself ``[d]``; or one of these per
            environment, ``[b h w 3]`` or ``[b d]``.
        tolerance: what counts as 1, in the state's units: one number per number of the state, or one for all; ``None``
            for how much each varies in the recording (and 1 radian for angles).
        over: which steps count, see :class:`~planners.objective.Objective`.
        discount: of ``over="discounted"``.
        doubt: weight of the probe's variance; 1 makes the cost an expectation, 0 leaves it out.
        failure: weight of the probability that some number is further off than its tolerance, by the probe's doubt.
            Just outside the tolerance, a push whose outcome is not quite known costs more than to stand still, where
            success is impossible; this is for goals that are either reached or not.
        weights: of the numbers' squares, one each; ``None`` for 1 each. What can be put right at the end, such as where
            a hand is, may weigh less than what needs a detour.

    Raises:
        ValueError: a model without probe, a goal of another shape, a tolerance or one of ``weights`` that is not
            positive, or a negative ``doubt`` or ``failure``.
    """

    def __init__(
        self,
        model: WorldModel,
        goal: np.ndarray,
        tolerance: float | Sequence[float] | None = None,
        over: Over = "last",
        discount: float = 0.95,
        doubt: float = 1.0,
        failure: float = 0.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(over, discount)
        at_least("doubt", doubt, 0)
        at_least("failure", failure, 0)
        self.doubt, self.failure = doubt, failure
        if model.state_probe is None:
            raise ValueError("model: expected one with a state probe; train one with `v2w train train=probe`")
        self.model, self.probe = model, model.state_probe
        self._tolerance = self._checked("tolerance", tolerance)
        self._weights = self._checked("weights", 1.0 if weights is None else weights)
        length = self.probe.config.length
        if goal.dtype == np.uint8:
            goal = check_frames(goal, "goal", ("h w 3", "b h w 3"), model.config.frame_size)
            frames = to_model(goal if goal.ndim == 4 else goal[None], model.device)
            with torch.no_grad():
                self.goal, _ = self._read(frames)
        elif goal.shape[-1:] == (length,) and goal.ndim <= 2 and np.isfinite(goal).all():
            self.goal = torch.as_tensor(goal, dtype=torch.float32, device=model.device).reshape(-1, length)
        else:
            raise ValueError(
                f"goal: expected a uint8 image, or a finite state of {length} numbers "
                f"({', '.join(self.probe.config.names)}), got {goal.dtype} of shape {goal.shape}"
            )

    def _checked(self, name: str, given: float | Sequence[float] | None) -> Tensor:
        length = self.probe.config.length
        if given is None:
            return self.probe.deviation
        numbers = (given,) * length if isinstance(given, int | float) else tuple(given)
        if len(numbers) != length or not all(number > 0 for number in numbers):
            raise ValueError(f"{name}: expected {length} positive numbers, or one for all, got {given}")
        return torch.tensor(numbers, dtype=torch.float32, device=self.probe.mean.device)

    def per_step(self, outcome: Outcome) -> Tensor:
        b, n, h = outcome.latents.shape[:3]
        if outcome.model is self.model:
            states, deviations = self.probe(rearrange(outcome.latents, "b n h c y x -> (b n h) c y x"))
        else:  # a world of its own, such as a simulator: only its frames mean something here
            states, deviations = self._read(rearrange(outcome.frames, "b n h c y x -> (b n h) c y x"))
        apart = self.probe.difference(states.unflatten(0, (b, n, h)), self._per_candidate(b))
        deviations = deviations.unflatten(0, (b, n, h))
        squares = apart.square() + self.doubt * deviations.square()
        costs = (self._weights * squares / self._tolerance.square()).mean(-1)
        return costs + self.failure * (1 - self._success(apart, deviations)) if self.failure else costs

    def suggest(self, state: WorldState, horizon: int, count: int, generator: Generators) -> Tensor | None:
        """What the model's action prior draws, to be at the goal after ``horizon`` steps, after one fewer, and so on
        (:meth:`~world_model.action_prior.ActionPrior.errands`). Blocks hold the last action of each; steps after those
        that the prior looks ahead hold its last."""
        prior, b = self.model.action_prior, state.batch_size
        if prior is None:
            return None
        states, _ = self.probe(state.latent)
        goals = self.goal.expand(b, -1) if len(self.goal) == 1 else self.goal
        last = state.action[:, -prior.columns :].to(states)
        errands = prior.errands(states, goals, last, state.action_mask.bool(), count, horizon)
        noise = draw_noise((b, count, prior.config.horizon, prior.columns), generator, states.device)
        actions = prior.sample(errands, noise.flatten(0, 1)).unflatten(0, (b, count))
        kept = torch.arange(horizon).clamp_max(prior.config.horizon - 1)
        return actions[:, :, kept].repeat(1, 1, 1, state.action.shape[1] // prior.columns)

    def _success(self, apart: Tensor, deviations: Tensor) -> Tensor:
        """Probability ``[...]`` that all numbers ``[... d]`` are within their tolerance."""
        deviations = deviations.clamp_min(1e-6)
        low, high = (torch.special.ndtr((side * self._tolerance - apart) / deviations) for side in (-1, 1))
        return (high - low).prod(-1)

    def _read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """States ``[m d]`` of frames ``[m 3 h w]`` in [-1, 1], and their deviations."""
        parts = frames.split(FRAMES_AT_ONCE)
        states, deviations = zip(*(self.probe(self.model.encode(part[:, None])[:, 0]) for part in parts), strict=True)
        return torch.cat(states), torch.cat(deviations)
