"""Train an agent wholly in imagination, with the real simulator as a judge that it never learns from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents import checkpoint
from agents.algorithms import AgentConfig, make_agent
from agents.callbacks import BetweenRollouts, OutOfTime
from agents.critic import CriticConfig, fit_critic, open_recording
from agents.dream import Dream, GuardConfig, load_dream
from agents.errors import DreamError
from agents.judge import EvaluationConfig, Judge
from agents.logs import make_logger
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import NoisyObservations, prepared
from v2w_env.rewards import NoReward
from world_model.bundle import Replacing
from world_model.progress import progress_bar

RUN, AGENT, FAILURE, CRITIC = "run.json", "agent.zip", "failure.pt", "critic.json"
# Settings that a later part of the same run may change: they leave the agent as it is.
FREE = ("folder", "steps", "max_minutes", "evaluation", "log_every", "checkpoint_every", "keep_every", "progress")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        env_id: Id of the imagined environment.
        env_kwargs: Fields of :class:`~v2w_env.config.EnvConfig`: ``observation``, ``reward``, ``reset_source``...
        folder: Where everything goes; a run that was interrupted goes on from what is there.
        agent: What learns.
        steps: Imagined steps, over all dreams; here and below, where the agent repeats its actions, its decisions.
        horizon: Steps per episode at most; ``None`` takes those that the id is registered with.
        max_minutes: Stop after this time, earlier parts of the run included.
        seed: Of everything.
        guards: Against living off the model's mistakes.
        critic: What the value function learns from a recording before the first dream.
        evaluation: In the real simulator and, for comparison, in the dream.
        log_every: Imagined steps between rows of ``progress.csv`` and TensorBoard.
        checkpoint_every: Imagined steps between checkpoints.
        keep_every: Imagined steps between agents kept as ``agents/step_*.zip``; ``None`` keeps none.
        device: Of the agent: ``"cpu"``, ``"cuda"``, ``"auto"``. That of the dream is ``env_kwargs["device"]``.
        progress: Show a progress bar.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path("runs/agent")
    agent: AgentConfig = field(default_factory=AgentConfig)
    steps: int = 1_000_000
    horizon: int | None = None
    max_minutes: float | None = None
    seed: int = 0
    guards: GuardConfig = field(default_factory=GuardConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    log_every: int = 10_000
    checkpoint_every: int = 50_000
    keep_every: int | None = None
    device: str = "cpu"
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "keep_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")

    def identity(self) -> dict[str, Any]:
        """What decides which agent comes out, as plain JSON values."""
        facts: dict[str, Any] = _plain(self)
        facts = {key: value for key, value in facts.items() if key not in FREE}
        return facts | {"critic": self.critic.identity(), "algorithm": self.agent.settings.algorithm}


def train(config: TrainConfig) -> dict[str, Any]:
    """Train, or go on with a training that was interrupted: the same settings lead to the same agent either way.

    ``config.folder`` gets ``agent.zip`` (plain SB3), ``checkpoint/``, ``progress.csv``, ``tensorboard/``,
    ``evaluations.jsonl``, ``exploitation_gap.json`` and ``.md``, ``run.json``, ``critic.json`` where a critic was
    fitted first, and ``failure.pt`` where a dream broke.

    Returns:
        ``steps``, ``agent`` (its path), ``finished``, and the last evaluation's ``imagined``, ``real`` and ``gap``.

    Raises:
        ValueError: Settings that do not fit each other, the environment or what is in the folder; rewards or frames
            that are not finite, with the step, the seeds and a file that repeat it.
    """
    folder = Path(config.folder)
    dream = load_dream(config.env_id, config.env_kwargs, config.horizon)
    if isinstance(dream.world.reward, NoReward):
        raise ValueError(
            f"env.kwargs.reward: {config.env_id} gives no reward, so there is nothing to learn; its world model has no "
            "reward head (`v2w train train=reward` makes one), and no other reward was asked for"
        )
    if config.critic.dataset is not None:  # a mistake in it claims no folder
        open_recording(config.critic, dream.world.model, config.agent.settings.algorithm)
    _claim(folder, config)
    saved = checkpoint.find_checkpoint(folder / "checkpoint")
    notes: dict[str, Any] = checkpoint.read_notes(saved) if saved else {"step": 0, "seconds": 0.0}
    with ExitStack() as stack:
        env = stack.enter_context(closing(make_training_env(config, dream)))
        device = str(get_device(config.device))
        if saved is None:
            model = make_agent(config.agent, env, config.seed, device)
            if config.critic.dataset is not None:
                _fit_critic(config, model, dream)
        else:
            model = checkpoint.load_model(saved, config.agent, env, device)
        judge = Judge(config.evaluation, dream, config.env_id, config.env_kwargs, folder, notes["step"])
        stack.enter_context(closing(judge))
        model.set_logger(make_logger(folder, notes["step"]))
        if saved is not None:
            checkpoint.restore(saved, model)
        return _Run(config, model, judge, notes).go(fresh=saved is None)


def _fit_critic(config: TrainConfig, model: BaseAlgorithm, dream: Dream) -> None:
    found = fit_critic(
        model, config.critic, dream.world.model, config.agent.action_repeat, config.seed, config.progress
    )
    with Replacing(Path(config.folder) / CRITIC) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


def make_training_env(config: TrainConfig, dream: Dream) -> VecEnv:
    """The dream as the agent sees it in training: guarded, monitored, stacked."""
    env: VecEnv = VecMonitor(WorldModelVecEnv(dream.make(config.agent.num_envs, guards=config.guards)))
    if config.guards.observation_noise:
        env = NoisyObservations(env, config.guards.observation_noise, config.seed)
    return prepared(env, config.agent)


class _Run:
    """One part of a training, from its start or a checkpoint to its end or the next interruption."""

    def __init__(self, config: TrainConfig, model: BaseAlgorithm, judge: Judge, notes: dict[str, Any]) -> None:
        self.config, self.model, self.judge, self.folder = config, model, judge, Path(config.folder)
        self._begun, self._before, self._first = time.monotonic(), float(notes["seconds"]), int(notes["step"])

    def go(self, fresh: bool) -> dict[str, Any]:
        config, model = self.config, self.model
        left = config.steps - self._first
        bar = progress_bar(range(config.steps), "dreaming", "step", config.steps, config.progress)
        bar.initial = bar.n = self._first
        tasks = [
            *([(config.evaluation.every, self._judge)] if config.evaluation.every else []),
            (config.log_every, self._log),
            *([(config.keep_every, self._keep)] if config.keep_every else []),
            (config.checkpoint_every, self._save),
        ]
        between = BetweenRollouts(tasks, self._first, self._out_of_time, bar)
        with bar:
            if left > 0:
                try:
                    model.learn(left, between, log_interval=None, reset_num_timesteps=fresh)  # type: ignore[arg-type]
                except OutOfTime:
                    pass
                except DreamError as error:
                    raise self._failed(error) from error
                between.run()
                self._judge()
                self._log()
                self._save()
        model.logger.close()
        latest = self.judge.latest()
        return {
            "steps": model.num_timesteps,
            "agent": str(self.folder / AGENT),
            "finished": model.num_timesteps >= config.steps,
        } | ({} if latest is None else {key: latest[key] for key in ("imagined", "real", "gap")})

    def _out_of_time(self) -> bool:
        limit = self.config.max_minutes
        return limit is not None and self._seconds() > 60 * limit

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def _log(self) -> None:
        if self.model.logger.name_to_value:
            self.model.dump_logs()

    def _keep(self) -> None:
        step = self.model.num_timesteps
        checkpoint.save_agent(self.model, self.folder / "agents" / f"step_{step:09d}.zip")

    def _judge(self) -> None:
        entry = self.judge.judge(self.model)
        if entry is not None:
            for side in ("imagined", "real"):
                self.model.logger.record(f"evaluation/{side}_return", entry[side]["mean"])
            self.model.logger.record("evaluation/gap", entry["gap"])
            self.model.dump_logs()

    def _save(self) -> None:
        notes = {"step": self.model.num_timesteps, "seconds": self._seconds()}
        checkpoint.save_checkpoint(self.folder / "checkpoint", self.model, notes)
        checkpoint.save_agent(self.model, self.folder / AGENT)

    def _failed(self, error: DreamError) -> ValueError:
        path = error.save(self.folder / FAILURE)
        return ValueError(
            f"{error}, training step {self.model.num_timesteps} of the run with seed {self.config.seed}. {path} holds "
            "the state before that step and its actions: env.set_state(state); env.step(actions) repeats it. So does "
            "running the same command again, from the last checkpoint on; change the guards, the horizon or the reward"
        )


def _claim(folder: Path, config: TrainConfig) -> None:
    """Write ``run.json``, or check that what is in the folder was begun with the same settings."""
    path, now = folder / RUN, config.identity()
    if path.exists():
        before = json.loads(path.read_text())["identity"]
        changed = [f"{key}: {was!r} -> {now.get(key)!r}" for key, was in before.items() if was != now.get(key)]
        if changed:
            raise ValueError(
                f"folder: {folder} holds a training with other settings ({'; '.join(changed)}). Choose another folder, "
                "or remove this one"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder: {folder} is not empty and holds no {RUN}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with Replacing(path) as temporary:
        temporary.write_text(json.dumps({"identity": now, "settings": _plain(config)}, indent=1) + "\n")


def _plain(value: Any) -> Any:
    """``value`` for JSON; functions, arrays and models by what tells them apart."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} of mean {float(value.mean()):.9g}"
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    return getattr(value, "__qualname__", type(value).__qualname__)
