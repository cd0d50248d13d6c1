"""``v2w plan``: reach a goal in a real environment by planning in the imagined one, and film both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from planners import MPC, ActionChange, GoalImage, GoalState, MPCConfig, MPCStep, Objective, make_planner
from planners.objective import Over
from planners.real import at_pace
from v2w.plan_film import Moment, pictures, write
from v2w_env import Vid2WorldEnv
from v2w_env.collect.frames import FrameSource, resize
from v2w_env.collect.policies import resolve_policy
from v2w_env.collect.simulator import image_settings, make_simulator
from v2w_env.frames import to_pixels
from v2w_env.resets import Start
from world_model.model import WorldModel
from world_model.progress import progress_bar

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class PlanConfig:
    """Which worlds, which goal, how to plan, and where the film goes.

    Attributes:
        env_id: id of the imagined environment, for ``gymnasium.make``.
        env_kwargs: its keyword arguments.
        method: name of a planner, a key of :data:`planners.PLANNERS`.
        settings: its configuration.
        simulator: id of the real environment; ``None`` for the one that the world model was recorded from.
        simulator_kwargs: its keyword arguments; ``None`` for images of the world model's size where that is known.
        goal: an image file, or ``"ahead"``: what ``goal_policy`` gets to. It also takes the first few actions, for the
            world model to see what is going on; the planner takes over ``goal_steps`` before the goal.
        goal_policy: name of a recording policy; ``None`` for the one that suits the simulator.
        goal_steps: actions of that policy (blocks of them, where the world model takes such) between the planner's
            start and the goal.
        goal_space: what is compared with the goal, ``"latent"``, ``"pixels"`` or, where the world model has a probe,
            ``"state"``.
        goal_tolerance, goal_doubt, goal_failure, goal_weights: of states, see :class:`planners.GoalState`.
        goal_blur: how far both are blurred first, see :class:`planners.GoalImage`.
        over: which imagined frames should look like the goal, see :class:`planners.Objective`.
        action_change: weight of :class:`planners.ActionChange`.
        num_steps: actions at most.
        replan_every: actions taken of each plan.
        context_frames: newest real frames that the world model starts from; ``None`` for its own default.
        seed: of the real environment, its goal, and the planner.
        out: ``.mp4`` or ``.gif``, or ``None`` for no film.
        fps: of the film; ``None`` takes the world model's.
        panel: side of each picture in the film, in pixels.
        progress: show a progress bar.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    method: str = "icem"
    settings: dict[str, Any] = field(default_factory=dict)
    simulator: str | None = None
    simulator_kwargs: dict[str, Any] | None = None
    goal: str = "ahead"
    goal_policy: str | None = None
    goal_steps: int = 25
    goal_space: Literal["latent", "pixels", "state"] = "pixels"
    goal_tolerance: tuple[float, ...] | None = None
    goal_doubt: float = 1.0
    goal_failure: float = 0.0
    goal_weights: tuple[float, ...] | None = None
    goal_blur: tuple[float, ...] = (0.0, 0.1, 0.25, 0.4)
    over: Over = "all"
    action_change: float = 0.0
    num_steps: int = 50
    replan_every: int = 5
    context_frames: int | None = None
    seed: int = 0
    out: Path | None = None
    fps: float | None = None
    panel: int = 256
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("goal_steps", "num_steps", "replan_every", "panel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.out is not None and self.out.suffix not in (".mp4", ".gif"):
            raise ValueError(f"out: expected a name that ends in .mp4 or .gif, got {str(self.out)!r}")


def run(config: PlanConfig) -> dict[str, float]:
    """Plan, act, write the film, print what happened.

    Returns:
        ``steps``, ``first_cost`` and ``last_cost`` (of the first and last real frame, by the objective's measure of a
        step), ``correlation`` (of real and imagined costs) and ``seconds_per_plan``.

    Raises:
        ValueError: an environment that is no imagined one, an unknown simulator, or a goal that cannot be read.
    """
    dream = gym.make(config.env_id, **config.env_kwargs)
    try:
        if not isinstance(dream.unwrapped, Vid2WorldEnv):
            raise ValueError(
                f"env.id: expected an imagined environment such as Vid2World-PushT-v0, got {config.env_id}"
            )
        model = dream.unwrapped.world_model
        given = {key: config.env_kwargs.get(key) for key in ("num_sampling_steps", "guidance_scale")}
        real = _simulator(config, model)
        try:
            task = _task(config, model, real)
            goal = task.goal
            objective = _objective(config, model, goal)
            planner = make_planner(config.method, model, objective, config.settings, model.with_sampling(**given))
            mpc = MPC(planner, MPCConfig(config.num_steps, config.replan_every, config.context_frames))
            moments: list[Moment] = []
            bar = progress_bar(range(config.num_steps), "planning", "step", config.num_steps, config.progress)

            def watch(step: MPCStep) -> None:
                moments.append(_moment(step, model))
                bar.update()

            with bar:
                result = mpc.run(
                    _Begun(real, _paced(real, model), task.begun.actions),
                    torch.Generator().manual_seed(config.seed),
                    seed=config.seed,
                    history=[task.begun],
                    progress=watch,
                )
        finally:
            real.close()
    finally:
        dream.close()
    summary = {
        "steps": len(moments),
        "first_cost": moments[0].real_cost,
        "last_cost": moments[-1].real_cost,
        "correlation": result.correlation,
        "seconds_per_plan": float(result.planning_seconds.mean()),
    }
    print(
        f"{summary['steps']} steps, {len(result.planning_seconds)} plans of {summary['seconds_per_plan']:.1f} s "
        f"({result.imagined_steps} imagined steps); cost {summary['first_cost']:.4g} after the first step, "
        f"{summary['last_cost']:.4g} after the last; imagined and real costs correlate by {result.correlation:.2f}"
    )
    if config.out is not None:
        caption = f"{config.method} in {model.config.name}"
        write(config.out, pictures(moments, goal, caption, config.panel), config.fps or model.config.fps)
        print(f"film: {config.out}")
    return summary


def _objective(config: PlanConfig, model: WorldModel, goal: Frame) -> Objective:
    if config.goal_space == "state":
        objective: Objective = GoalState(
            model,
            goal,
            config.goal_tolerance,
            config.over,
            doubt=config.goal_doubt,
            failure=config.goal_failure,
            weights=config.goal_weights,
        )
    else:
        objective = GoalImage(model, goal, config.goal_space, config.over, blur=config.goal_blur)
    return objective + config.action_change * ActionChange() if config.action_change else objective


def _simulator(config: PlanConfig, model: WorldModel) -> gym.Env:
    """The real environment."""
    id = config.simulator or model.config.source_env
    if not id:
        raise ValueError("simulator: this world model does not say what it was recorded from; name a Gymnasium id")
    kwargs = config.simulator_kwargs
    if kwargs is None:
        kwargs = image_settings(id, model.config.frame_size)
    env = make_simulator(id, kwargs)
    try:
        _paced(env, model)
    except ValueError:
        env.close()
        raise
    return env


def _paced(env: gym.Env, model: WorldModel) -> gym.Env:
    return at_pace(env, model.config.actions, model.config.frame_skip, model.config.action_block)


@dataclass(frozen=True)
class _Task:
    """A goal image uint8 ``[h w 3]``, and what happens before the planner takes over."""

    goal: Frame
    begun: Start


class _Begun(gym.Wrapper):
    """An environment whose episodes begin with given actions of the world model, which ``paced`` takes."""

    def __init__(self, env: gym.Env, paced: gym.Env, actions: NDArray[Any]) -> None:
        super().__init__(env)
        self._paced, self._actions = paced, actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        for action in self._actions:
            observation, _, _, _, info = self._paced.step(action)
        return observation, info


def _task(config: PlanConfig, model: WorldModel, env: gym.Env) -> _Task:
    size, shape = model.config.frame_size, model.config.actions.shape
    if config.goal != "ahead":
        try:
            with Image.open(config.goal) as image:
                goal = resize(np.array(image.convert("RGB")), size)
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"goal: expected 'ahead' or an image file, got {config.goal!r} ({error})") from error
        return _Task(goal, Start(np.zeros((0, *goal.shape), np.uint8), np.zeros((0, *shape))))
    name = config.goal_policy
    if name is None:
        name = "pusht_mix" if env.spec is not None and env.spec.id == "gym_pusht/PushT-v0" else "random"
    source, count = FrameSource(env, size), (config.context_frames or model.config.context_frames) - 1
    observation, info = env.reset(seed=config.seed)
    policy = resolve_policy(name)(env, np.random.default_rng(config.seed))
    frames, actions = [source(observation)], []
    block = model.config.action_block
    for _ in range(count + config.goal_steps):
        taken = []
        for index in range(block * model.config.frame_skip):
            if index % model.config.frame_skip == 0:
                taken.append(policy(observation, info))
            observation, _, terminated, truncated, info = env.step(taken[-1])
            ended = terminated or truncated
            if ended:
                break
        actions.append(np.stack(taken + taken[-1:] * (block - len(taken))) if block > 1 else taken[0])
        frames.append(source(observation))
        if ended:
            break
    count = min(count, len(actions) - 1)
    return _Task(frames[-1], Start(np.stack(frames)[:count], np.array(actions[:count]).reshape(count, *shape)))


def _moment(step: MPCStep, model: WorldModel) -> Moment:
    plan, at = step.plan, step.plan_step
    with torch.no_grad():
        imagined = to_pixels(model.decode(plan.latents[:, at : at + 1])[:, 0])[0]
    ahead = plan.step_costs[0, at + 1 :].numpy()
    return Moment(
        step.real.frames[0], imagined, float(step.real_costs[0]), float(step.predicted_costs[0]), ahead, at == 0
    )
