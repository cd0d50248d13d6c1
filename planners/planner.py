"""What all planners have in common: what they are given, what they check, and what they give back."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from planners.imagination import Imagination
from planners.objective import Objective
from planners.plan import Plan, WarmStart
from planners.randomness import check_generators, draw_seeds
from planners.search import PlannerConfig, Progress, Search
from planners.search_space import SearchSpace
from v2w_env.state import EnvState
from world_model.model import SamplingConfig, WorldModel
from world_model.types import Generators, WorldState

C = TypeVar("C", bound=PlannerConfig)
T = TypeVar("T", bound="Planner[Any]")


class Planner(ABC, Generic[C]):
    """Finds actions whose imagined outcome costs little.

    A planner keeps nothing between calls: the same state, seed and warm start give the same plan.

    Args:
        model: world model to imagine with.
        objective: what to minimise.
        config: settings; the class's own defaults if ``None``.
        sampling: how frames are denoised while planning; ``None`` for the model's own settings.
    """

    default: ClassVar[type[PlannerConfig]] = PlannerConfig

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        config: C | None = None,
        sampling: SamplingConfig | None = None,
    ) -> None:
        if not isinstance(objective, Objective):
            raise ValueError(
                f"objective: expected an Objective such as GoalImage(model, goal), got {type(objective).__name__}; "
                "wrap a callable as Reward(function)"
            )
        if config is not None and not isinstance(config, type(self).default):
            raise ValueError(f"config: expected {type(self).default.__name__}, got {type(config).__name__}")
        self.model, self.objective, self.sampling = model, objective, sampling
        self.config: Any = config or type(self).default()
        self.space = self._space()

    def plan(
        self,
        state: WorldState | EnvState,
        generator: Generators,
        warm_start: Plan | WarmStart | Tensor | None = None,
        progress: Progress | None = None,
    ) -> Plan:
        """Plan for every environment of ``state`` in one batch.

        Args:
            state: where to start from; it stays as it is.
            generator: all randomness comes from it; one, or one per environment, so that an environment's plan does not
                depend on the others.
            warm_start: where to begin the search: ``previous_plan.after(steps)``, or actions ``[b t a]``.
            progress: called after each round.

        Raises:
            ValueError: a state of another model, a warm start of another shape, or an objective that gives other than
                one cost per step.
        """
        began = time.perf_counter()
        world = self._check_state(state)
        check_generators(generator, world.batch_size)
        start = self._check_warm_start(warm_start, world.batch_size)
        seeds = draw_seeds(world.batch_size, generator)
        memory = self.config.memory_gib * 2**30
        search = Search(
            Imagination(self.model, world, seeds, self.sampling, memory),
            self.objective,
            self.space,
            self.config,
            generator,
            None if start is None else self._points(start.actions[:, None]),
            None if start is None or start.elites is None else self._points(start.elites),
            self.space.from_actions(world.action.cpu())[:, None, None],
            world.action_mask.cpu().bool()[:, None, None, None],
            progress,
            began,
        )
        return self._search(search)

    def with_objective(self: T, objective: Objective) -> T:
        """The same planner for another objective."""
        other = copy.copy(self)
        other.objective = objective
        return other

    def with_horizon(self: T, horizon: int) -> T:
        """The same planner for plans of another length."""
        other = copy.copy(self)
        other.config = replace(self.config, horizon=horizon)
        return other

    @abstractmethod
    def _space(self) -> SearchSpace:
        """The search space that this planner works in, or a ValueError if it does not work in the model's."""

    @abstractmethod
    def _search(self, search: Search) -> Plan:
        """Find the plan."""

    def _points(self, actions: Tensor) -> Tensor:
        """Actions ``[b n h a]`` as points ``[b n k a]``."""
        return self.space.from_actions(actions[:, :, :: self.config.action_repeat])

    def _check_state(self, state: WorldState | EnvState) -> WorldState:
        world = state.world if isinstance(state, EnvState) else state
        if not isinstance(world, WorldState):
            raise ValueError(f"state: expected a WorldState, or env.get_state(), got {type(state).__name__}")
        spec, shape = self.model.config.actions, tuple(world.latent.shape[1:])
        if shape != self.model.config.latent_shape or world.action.shape[1] != spec.size or not world.batch_size:
            raise ValueError(
                f"state: expected latents [b {self.model.config.latent_shape}], actions [b {spec.size}], b >= 1, got "
                f"{tuple(world.latent.shape)} and {tuple(world.action.shape)}; is it of another model?"
            )
        return world

    def _check_warm_start(self, given: Plan | WarmStart | Tensor | None, batch: int) -> WarmStart | None:
        if given is None:
            return None
        start = given.after(0) if isinstance(given, Plan) else given
        start = WarmStart(start) if isinstance(start, Tensor) else start
        columns = self.model.config.actions.size
        for form, value in (("b t a", start.actions), ("b k t a", start.elites)):
            if value is None:
                continue
            ndim = len(form.split())
            if value.ndim != ndim or len(value) != batch or value.shape[-1] != columns or not value.shape[-2]:
                expected = f"actions [{form}] with b={batch}, t >= 1, a={columns}"
                raise ValueError(f"warm_start: expected {expected}, got {tuple(value.shape)}")
        moved = WarmStart(start.actions.cpu(), None if start.elites is None else start.elites.cpu())
        return moved.fitted(self.config.horizon)
