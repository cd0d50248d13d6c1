"""Model predictive control: act on a plan for a few steps, look, plan again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from planners.checks import at_least
from planners.history import History
from planners.mpc_result import MPCResult, MPCStep, collect
from planners.objective import Outcome
from planners.plan import Plan, WarmStart
from planners.planner import Planner
from planners.randomness import check_generators
from planners.real import Environments, Options, RealEnvs, open_envs
from v2w_env.frames import to_model
from v2w_env.resets import Start
from world_model.types import Generators, WorldState

Until = Callable[[MPCStep], Sequence[bool] | np.ndarray]


@dataclass(frozen=True)
class MPCConfig:
    """Settings of :class:`MPC`.

    Attributes:
        num_steps: actions at most.
        replan_every: actions taken of each plan.
        context_frames: newest real frames that the world model starts from; ``None`` for its own default.
        warm_start: begin each search at what is left of the plan before.
        shrink_horizon: plan no further than ``num_steps``: what would come after does not count, and costs no time.
        frame_skip: environment steps that each action is held for; ``None`` for the world model's own.
    """

    num_steps: int = 50
    replan_every: int = 1
    context_frames: int | None = None
    warm_start: bool = True
    shrink_horizon: bool = False
    frame_skip: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_steps", "replan_every", "context_frames", "frame_skip"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)


class MPC:
    """Controls real environments with a planner in the imagined one.

    Before each plan the world model starts afresh from the newest real frames, so that errors do not pile up. All
    environments are planned for in one batch; those that end drop out of it.

    Args:
        planner: finds the actions; its objective may have one goal for all environments, or one each.
        config: settings.
    """

    def __init__(self, planner: Planner[Any], config: MPCConfig | None = None) -> None:
        self.planner, self.config = planner, config or MPCConfig()
        if self.config.replan_every > planner.config.horizon:
            raise ValueError(
                f"replan_every: expected at most the planner's horizon {planner.config.horizon}, got "
                f"{self.config.replan_every}"
            )

    def run(
        self,
        envs: Environments,
        generator: Generators,
        *,
        seed: int | None = None,
        options: Options = None,
        history: Sequence[Start] | None = None,
        until: Until | None = None,
        progress: Callable[[MPCStep], None] | None = None,
    ) -> MPCResult:
        """Reset the environments and control them; see :meth:`steps`.

        Args:
            progress: called after each step.
        """
        real = self._open(envs)

        def watched() -> Iterator[MPCStep]:
            for step in self._steps(real, generator, seed, options, history, until):
                if progress is not None:
                    progress(step)
                yield step

        return collect(watched(), real.num_envs)

    def steps(
        self,
        envs: Environments,
        generator: Generators,
        *,
        seed: int | None = None,
        options: Options = None,
        history: Sequence[Start] | None = None,
        until: Until | None = None,
    ) -> Iterator[MPCStep]:
        """The same, one step at a time.

        Args:
            envs: a real environment, several in a list, or a vector environment; they have to show images (in their
                observations or as ``rgb_array``) and take the actions that the world model learned.
            generator: for plans and for the world model's noise; one, or one per environment.
            seed: environment ``i`` is reset with ``seed + i``.
            options: given to ``reset``, one dictionary for all, or (for a list) one each.
            history: what came before the first frame of each environment: frames, and as many actions.
            until: says after each step which environments have arrived (``[m]`` bools); these are left alone then, as
                are those whose episode is over.

        Raises:
            ValueError: environments that do not fit the world model, or a history of another shape.
        """
        return self._steps(self._open(envs), generator, seed, options, history, until)

    def _open(self, envs: Environments) -> RealEnvs:
        config = self.planner.model.config
        skip = self.config.frame_skip or config.frame_skip
        return open_envs(envs, config.actions, config.frame_size, skip, config.action_block)

    def _steps(
        self,
        envs: RealEnvs,
        generator: Generators,
        seed: int | None,
        options: Options,
        earlier: Sequence[Start] | None,
        until: Until | None,
    ) -> Iterator[MPCStep]:
        check_generators(generator, envs.num_envs)
        config, spec = self.config, self.planner.model.config.actions
        frames = envs.reset(seed, options)
        limit = config.context_frames or self.planner.model.config.context_frames
        history = History(frames, limit, earlier)
        rows, plan, plan_step, warm = list(range(envs.num_envs)), None, 0, None
        for index in range(config.num_steps):
            if plan is None or plan_step == config.replan_every:
                plan, plan_step = self._plan(history, rows, generator, warm, config.num_steps - index), 0
            actions = spec.to_native(plan.actions[:, plan_step])
            before = [history.newest_action(row) for row in rows]
            real = envs.step(actions, rows)
            history.add(rows, real.frames, actions)
            step = MPCStep(
                index=index,
                rows=tuple(rows),
                before=frames[rows],
                actions=actions,
                real=real,
                predicted_costs=plan.step_costs[:, plan_step].numpy(),
                real_costs=self._real_costs(rows, real.frames, actions, before),
                plan=plan,
                plan_step=plan_step,
                arrived=np.zeros(len(rows), np.bool_),
            )
            if until is not None:
                step = replace(step, arrived=_checked(until(step), len(rows)))
            yield step
            frames[rows] = real.frames
            plan_step += 1
            stay = np.flatnonzero(~(step.arrived | real.terminated | real.truncated)).tolist()
            if not stay:
                return
            if len(stay) < len(rows):
                rows, plan = [rows[i] for i in stay], plan.select(stay)
            warm = plan.after(plan_step) if config.warm_start else None

    def _plan(
        self, history: History, rows: list[int], generator: Generators, warm: WarmStart | None, steps_left: int
    ) -> Plan:
        planner, chosen = self.planner, generator
        if self.config.shrink_horizon and steps_left < planner.config.horizon:
            planner = planner.with_horizon(steps_left)
        if not isinstance(generator, torch.Generator):
            chosen = [generator[row] for row in rows]
        state = self._state(history, rows, chosen)
        return planner.with_objective(planner.objective.select(rows)).plan(state, chosen, warm)

    def _state(self, history: History, rows: list[int], generator: Generators) -> WorldState:
        """Where plans for the environments ``rows`` start."""
        return history.state(self.planner.model, rows, generator, self.planner.sampling)

    def _real_costs(
        self, rows: list[int], frames: np.ndarray, actions: np.ndarray, before: list[np.ndarray | None]
    ) -> np.ndarray:
        """What the objective says of real frames ``[m h w 3]``, ``[m]``."""
        model = self.planner.model
        seen = to_model(frames[:, None, None], model.device)
        last = np.stack([new if old is None else old for new, old in zip(actions, before, strict=True)])
        to_tensor = model.config.actions.to_tensor
        with torch.no_grad():
            outcome = Outcome(
                model.encode(seen[:, 0])[:, None],
                to_tensor(actions)[:, None, None].to(model.device),
                to_tensor(last)[:, None].to(model.device),
                model,
                seen,
            )
            return self.planner.objective.select(rows).per_step(outcome)[:, 0, 0].float().cpu().numpy()


def _checked(arrived: Sequence[bool] | np.ndarray, count: int) -> np.ndarray:
    array = np.asarray(arrived)
    if array.shape != (count,) or array.dtype != np.bool_:
        raise ValueError(f"until: expected {count} bools, got {array.dtype} of shape {array.shape}")
    return array
