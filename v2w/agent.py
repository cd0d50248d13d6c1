"""``v2w agent``: train an agent in imagination, and let agents play."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.algorithms import ALGORITHMS, AgentConfig
from agents.arena import Arena, DreamArena, RealArena
from agents.dream import load_dream, load_dreamer
from agents.evaluate import Evaluation, evaluate
from agents.policies import load_policy
from agents.real import encoder, make_real_env
from agents.train import TrainConfig
from agents.train import train as run_training
from v2w.plan_film import write
from v2w_env.config import check_choice, check_names
from world_model.bundle import Replacing
from world_model.model import WorldModel
from world_model.schema import build


@dataclass(frozen=True)
class EvalConfig:
    """Who plays where, and what is written about it.

    Attributes:
        env_id: Id of an imagined environment; with ``env_kwargs``.
        agent: What :func:`agents.policies.load_policy` takes.
        where: In the ``"real"`` simulator, or in the ``"dream"``.
        episodes: How many; episode ``i`` is reset with ``seed + i``.
        seed: Of the first.
        num_envs: Episodes at a time; ``None``: 4 simulators or 16 dreams.
        deterministic: Take an agent's likeliest action instead of sampling.
        horizon: Steps per episode at most; ``None`` for the environment's own limit.
        simulator: Id of the real environment; ``None`` for the one that the world model was recorded from.
        simulator_kwargs: Its arguments; ``None`` for images of the world model's size where that is known how.
        out: JSON file for the result, or ``None``.
        film: ``.mp4`` or ``.gif`` of the first ``film_episodes``, or ``None``.
        film_episodes: How many of them.
        scale: Enlargement of the film.
        device: Of the agent.
        progress: Show a progress bar.
    """

    env_id: str
    agent: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    where: Literal["real", "dream"] = "real"
    episodes: int = 100
    seed: int = 0
    num_envs: int | None = None
    deterministic: bool = True
    horizon: int | None = None
    simulator: str | None = None
    simulator_kwargs: dict[str, Any] | None = None
    out: Path | None = None
    film: Path | None = None
    film_episodes: int = 3
    scale: int = 4
    device: str = "cpu"
    progress: bool = True

    def __post_init__(self) -> None:
        check_choice("where", self.where, ("real", "dream"))
        for name in ("episodes", "num_envs", "film_episodes", "scale", "horizon"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if self.film is not None and self.film.suffix not in (".mp4", ".gif"):
            raise ValueError(f"film: expected a name that ends in .mp4 or .gif, got {str(self.film)!r}")


def train_config(config: dict[str, Any]) -> TrainConfig:
    """The merged configuration of ``v2w agent train`` as the library's own."""
    values = dict(config)
    env, agent = values.pop("env"), {key: value for key, value in values.pop("agent").items() if key != "base"}
    algo = agent.pop("algo")
    check_names("algo", [algo], list(ALGORITHMS))
    agent["settings"] = build(ALGORITHMS[algo], agent.pop("settings"), "agent.settings.")
    values["agent"] = build(AgentConfig, agent, "agent.")
    return build(TrainConfig, {"env_id": env["id"], "env_kwargs": env["kwargs"]} | values)


def train(config: dict[str, Any]) -> None:
    """``v2w agent train``."""
    settings = train_config(config)
    result = run_training(settings)
    state = "" if result["finished"] else f" of {settings.steps}, time is up; the same command goes on"
    print(f"agent: {result['agent']}, {result['steps']} imagined steps{state}")
    if "gap" in result:
        imagined, real = result["imagined"]["mean"], result["real"]["mean"]
        print(
            f"return: {imagined:.4g} imagined, {real:.4g} real; {settings.folder}/exploitation_gap.md has the history"
        )


def play(config: EvalConfig) -> Evaluation:
    """``v2w agent eval``: play, write the files, print the summary as JSON.

    Raises:
        ValueError: No imagined environment, a policy or a simulator that does not fit it.
        FileNotFoundError: No such agent.
    """
    model = load_dreamer(config.env_id, config.env_kwargs)
    policy = load_policy(
        config.agent, model.config, encoder(model), config.deterministic, seed=config.seed, device=config.device
    )
    arena = _arena(config, model)
    try:
        films = 0 if config.film is None else min(config.film_episodes, config.episodes)
        result = evaluate(policy, arena, config.episodes, config.seed, films, config.progress)
    finally:
        arena.close()
    settings = {key: value for key, value in vars(config).items() if key not in ("out", "film", "scale", "progress")}
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        with Replacing(config.out) as path:
            path.write_text(json.dumps({"settings": settings} | result.to_dict(), indent=1, default=str) + "\n")
    if config.film is not None:
        write(
            config.film, [_enlarged(frame, config.scale) for film in result.films for frame in film], model.config.fps
        )
        print(f"film: {config.film}")
    print(json.dumps({"where": config.where} | result.summary()))
    return result


def _arena(config: EvalConfig, model: WorldModel) -> Arena:
    if config.where == "dream":
        kwargs = {**config.env_kwargs, "observation": "pixels", "action_range": "native"}
        dream = load_dream(config.env_id, kwargs, config.horizon)
        return DreamArena(dream.make(min(config.num_envs or 16, config.episodes), AutoresetMode.DISABLED))
    make = partial(make_real_env, model.config, config.simulator, config.simulator_kwargs, config.horizon)
    return RealArena(make, min(config.num_envs or 4, config.episodes))


def _enlarged(frame: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)
