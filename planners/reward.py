"""Rewards as costs: what the world model's own head predicts, any callable, or the reward model of an environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from planners.objective import Objective, Outcome, Over
from v2w_env.frames import to_pixels
from v2w_env.rewards import RewardModel, Transition


class PredictedReward(Objective):
    """Minus the reward that the world model's own head expects: each step's counts as far as the episode is likely to
    last until then. Differentiable.

    Args:
        over: ``"all"`` or ``"discounted"``.
        discount: of ``over="discounted"``.
    """

    def __init__(self, over: Over = "all", discount: float = 0.95) -> None:
        super().__init__(over, discount)
        if over not in ("all", "discounted"):
            raise ValueError(f"over: expected all or discounted, since episodes may end on the way, got {over!r}")

    def per_step(self, outcome: Outcome) -> Tensor:
        rewards, ends = _predictions(outcome)
        lasts = (1 - ends).cumprod(-1)
        alive = torch.cat([torch.ones_like(lasts[..., :1]), lasts[..., :-1]], dim=-1)
        return -rewards * alive


class Reward(Objective):
    """Minus what a callable says.

    Args:
        function: ``outcome -> rewards [b n h]``; it may look at ``outcome.latents``, ``outcome.actions`` and
            ``outcome.frames`` (only then are frames decoded).
        over: which steps count, see :class:`~planners.objective.Objective`.
        discount: of ``over="discounted"``.
    """

    def __init__(self, function: Callable[[Outcome], Tensor], over: Over = "all", discount: float = 0.95) -> None:
        super().__init__(over, discount)
        if not callable(function):
            raise ValueError(f"function: expected a callable outcome -> rewards, got {type(function).__name__}")
        self.function = function

    def per_step(self, outcome: Outcome) -> Tensor:
        return -self.function(outcome)


class EnvReward(Objective):
    """Minus the reward of an imagined environment's own reward model (which draws no gradients).

    Args:
        reward: for example ``FunctionReward(f)``; one that takes goals is better served by
            :class:`~planners.goal_image.GoalImage`.
        after_the_end: the cost of each step after the model said ``terminated``.
        over: which steps count.
        discount: of ``over="discounted"``.
    """

    def __init__(
        self, reward: RewardModel, after_the_end: float = 0.0, over: Over = "all", discount: float = 0.95
    ) -> None:
        super().__init__(over, discount)
        if reward.goal_space != "none":
            raise ValueError(f"reward: expected one without goals, got {type(reward).__name__}; use GoalImage")
        self.reward, self.after_the_end = reward, after_the_end

    def per_step(self, outcome: Outcome) -> Tensor:
        b, n, h = outcome.actions.shape[:3]
        native = outcome.model.config.actions.to_native(outcome.actions.flatten(0, 1))
        latents = outcome.latents.flatten(0, 1)
        frames = to_pixels(outcome.frames.detach()) if self.reward.needs_frames else None
        predicted = None
        if self.reward.needs_head:
            predicted = [rearrange(values.detach(), "b n h -> h (b n)") for values in _predictions(outcome)]
        ended, costs = np.zeros(b * n, np.bool_), np.zeros((b * n, h))
        for step in range(h):
            shown = None if frames is None else rearrange(frames[:, :, step], "b n y x c -> (b n) y x c")
            elapsed = np.full(b * n, step + 1, np.int64)
            seen = Transition(latents[:, step], native[:, step], elapsed, shown)
            if predicted is not None:
                seen = replace(seen, predicted_rewards=predicted[0][step], termination_probabilities=predicted[1][step])
            result = self.reward.evaluate(seen)
            costs[:, step] = np.where(ended, self.after_the_end, -result.rewards)
            ended |= result.terminated
        return torch.from_numpy(costs).float().view(b, n, h).to(latents.device)


def _predictions(outcome: Outcome) -> tuple[Tensor, Tensor]:
    """Rewards and termination probabilities ``[b n h]`` by the model's head; frames without a past are judged alone.

    Raises:
        ValueError: if the model has no head.
    """
    head, memories = outcome.model.reward_head, outcome.memories
    if head is None:
        raise ValueError(
            f"objective: the world model {outcome.model.config.name!r} has no reward head to ask; train one with "
            "`v2w train train=reward`, or choose another objective"
        )
    if memories is None:
        b, n, h = outcome.latents.shape[:3]
        memories = rearrange(head.begin(outcome.latents.flatten(0, 2)), "(b n h) d -> b n h d", b=b, n=n, h=h)
    return head.predict(memories)
