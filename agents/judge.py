"""The judge of a training: plays the agent in the real simulator and in an unguarded dream, and teaches it nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.arena import DreamArena, RealArena
from agents.dream import Dream, load_dream
from agents.evaluate import evaluate
from agents.gap import exploitation_gap, write_report
from agents.logs import JsonLines
from agents.randomness import aside
from agents.real import encoder, make_real_env
from agents.sb3_policy import SB3Policy
from v2w_env.rewards import LearnedReward


@dataclass(frozen=True)
class EvaluationConfig:
    """When and where an agent in training is judged.

    Attributes:
        every: Imagined steps between evaluations; 0 for none at all.
        episodes: Real ones, of at most the dream's horizon.
        dream_episodes: Imagined ones, without guards.
        real_envs: Simulators, stepped one after the other.
        dream_envs: Dreams at a time.
        deterministic: Take the agent's likeliest action instead of sampling.
        seed: Of the first episode of every evaluation.
        simulator: Id of the real environment; ``None`` for the one that the world model was recorded from.
        simulator_kwargs: Its arguments; ``None`` for images of the world model's size where that is known how.
    """

    every: int = 100_000
    episodes: int = 16
    dream_episodes: int = 16
    real_envs: int = 4
    dream_envs: int = 16
    deterministic: bool = True
    seed: int = 10_000
    simulator: str | None = None
    simulator_kwargs: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("episodes", "dream_episodes", "real_envs", "dream_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.{name}: expected at least 1, got {getattr(self, name)}")
        if self.every < 0:
            raise ValueError(f"evaluation.every: expected steps, or 0 for no evaluation, got {self.every}")


class Judge:
    """Holds the environments of evaluations and the report on them.

    Args:
        config: ``every=0`` opens nothing, and :meth:`judge` does nothing.
        dream: That the agent learns in.
        env_id: Its id; with ``env_kwargs``.
        folder: Where ``evaluations.jsonl`` and the report go.
        step: Evaluations from beyond this step are forgotten.

    Raises:
        ValueError: There is no simulator, or it does not fit the world model.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        dream: Dream,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        folder: Path,
        step: int,
    ) -> None:
        self.config, self.folder = config, folder
        self._log = JsonLines(folder / "evaluations.jsonl", step)
        self._model = dream.world.model
        self._arenas: tuple[RealArena, DreamArena] | None = None
        if not config.every:
            return
        world = self._model.config
        make = partial(make_real_env, world, config.simulator, config.simulator_kwargs, dream.horizon)
        try:
            real = RealArena(make, min(config.real_envs, config.episodes))
        except ValueError as error:
            raise ValueError(f"evaluation: {error}. Without a simulator: evaluation.every=0") from error
        plain = load_dream(env_id, {**env_kwargs, "observation": "pixels", "action_range": "native"}, dream.horizon)
        imagined = plain.make(min(config.dream_envs, config.dream_episodes), AutoresetMode.DISABLED)
        self._arenas = real, DreamArena(imagined)
        self._facts = {
            "env": env_id,
            "world_model": world.name,
            "simulator": config.simulator or world.source_env,
            "horizon": dream.horizon,
            "imagined_reward": type(dream.world.reward).__name__,
            "real_reward": "the simulator's own",
            "policy": "likeliest actions" if config.deterministic else "sampled actions",
        }
        if not isinstance(dream.world.reward, LearnedReward):
            self._facts["caution"] = "the imagined reward was not learned from the simulator's; they may differ in kind"

    def judge(self, model: BaseAlgorithm) -> dict[str, Any] | None:
        """Play, and write the report; the random streams and the agent stay as they are.

        Returns:
            What :func:`~agents.gap.exploitation_gap` does, with the ``step``; ``None`` without simulator, and where
            this step has been judged.
        """
        latest = self.latest()
        if self._arenas is None or (latest is not None and latest["step"] == model.num_timesteps):
            return None
        config, training = self.config, model.policy.training
        policy = SB3Policy(model, self._model.config, encoder(self._model), config.deterministic)
        with aside(config.seed):
            real = evaluate(policy, self._arenas[0], config.episodes, config.seed)
            imagined = evaluate(policy, self._arenas[1], config.dream_episodes, config.seed)
        model.policy.set_training_mode(training)
        entry = {"step": model.num_timesteps, **exploitation_gap(imagined, real)}
        self._log.append(entry)
        write_report(self.folder, self._facts, self._log.entries)
        return entry

    def latest(self) -> dict[str, Any] | None:
        """The newest evaluation."""
        return self._log.entries[-1] if self._log.entries else None

    def close(self) -> None:
        for arena in self._arenas or ():
            arena.close()
