"""Gradient descent on action sequences, through the denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from planners.checks import above, at_least, one_of
from planners.plan import Plan
from planners.planner import Planner
from planners.population import Scored
from planners.randomness import colored_noise
from planners.search import PlannerConfig, Search, Start
from planners.search_space import SearchSpace
from planners.waypoints import box_space


@dataclass(frozen=True)
class GradientConfig(PlannerConfig):
    """Settings of :class:`GradientPlanner`.

    Attributes:
        num_candidates: sequences improved side by side, the first from the start itself.
        num_iterations: steps of Adam.
        learning_rate: of Adam, in halves of the action range.
        initial_std: standard deviation of the other candidates around the start, in halves of the action range.
        noise_exponent: how slowly that noise changes over time.
        start: where the search begins without a warm start: ``"centre"`` or ``"hold"``, see
            :class:`~planners.cem.CEMConfig`.
    """

    num_candidates: int = 4
    num_iterations: int = 20
    learning_rate: float = 0.1
    initial_std: float = 0.3
    noise_exponent: float = 2.0
    start: Start = "centre"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_candidates", self.num_candidates, 1)
        at_least("num_iterations", self.num_iterations, 1)
        above("learning_rate", self.learning_rate, 0)
        at_least("initial_std", self.initial_std, 0)
        at_least("noise_exponent", self.noise_exponent, 0)
        one_of("start", self.start, ("centre", "hold"))


class GradientPlanner(Planner[GradientConfig]):
    """Follows the gradient of the cost with respect to the actions, with Adam, inside the action bounds.

    The objective has to be differentiable, for which latents are the cheapest. States made in ``inference_mode`` carry
    no gradients; use ``no_grad``, as the environments do.
    """

    default: ClassVar[type[PlannerConfig]] = GradientConfig

    def _space(self) -> SearchSpace:
        config = self.config
        return box_space(self.model.config, config.within_block, config.action_low, config.action_high)

    def _search(self, search: Search) -> Plan:
        if torch.is_inference_mode_enabled() or search.imagination.state.latent.is_inference():
            raise ValueError(
                "state: expected one made outside inference_mode, since gradients cannot pass through it; use no_grad"
            )
        config, points = self.config, self._start(search)
        optimizer = torch.optim.Adam([points], lr=config.learning_rate)
        best: Scored | None = None
        for _ in range(config.num_iterations):
            if not search.time_for_another():
                break
            costs = self._backward(search, points)
            best = Scored(points.detach().clone(), costs).joined(best).elites(1)
            spread = points.detach().std(1, correction=0).mean((1, 2))
            search.report(best.costs[:, 0], costs, spread)
            assert points.grad is not None
            # One bad candidate must not stop the others.
            torch.nan_to_num_(points.grad, nan=0.0, posinf=0.0, neginf=0.0)
            optimizer.step()
            with torch.no_grad():
                points.clamp_(-1, 1)
        assert best is not None
        points = points.detach()
        return search.finish(Scored(points, search.costs(points)).joined(best).elites(1).points)

    def _start(self, search: Search) -> Tensor:
        config, start = self.config, search.start_points(self.config.start)
        noise = colored_noise(search.shape(config.num_candidates), config.noise_exponent, search.generator)
        points = start + config.initial_std * noise
        points[:, :1] = start
        return points.clamp(-1, 1).requires_grad_()

    def _backward(self, search: Search, points: Tensor) -> Tensor:
        """Costs ``[b n]``, and their gradients added to ``points``, in chunks that fit the memory."""
        imagination, costs = search.imagination, torch.full(points.shape[:2], torch.inf)
        points.grad = None
        with torch.enable_grad():
            for part in imagination.chunks(search.actions(points), with_gradients=True):
                total = search.objective(imagination.outcome(search.actions(points[:, part])))
                if not total.requires_grad:
                    raise ValueError(
                        "objective: expected one that gradients pass through, got costs without; "
                        "use another planner, such as CEM"
                    )
                finite = total.isfinite()
                if bool(finite.any()):
                    total[finite].sum().backward()
                costs[:, part] = torch.where(finite, total, torch.inf).detach().float().cpu()
        if points.grad is None:
            points.grad = torch.zeros_like(points)
        return costs
