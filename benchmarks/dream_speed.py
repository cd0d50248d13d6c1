"""How fast agents dream: imagined environment steps a second, of all environments of a batch together.

    python -m benchmarks.dream_speed [env_id=Vid2World-DoomTakeCover-v0 num_envs=32 ...]

With frames as observations, the default, every step is decoded; with latents, which agents may learn from, none is.
Both take turns in one process, round by round, under random actions; episodes that end begin again, which is part of
the time.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym

import v2w_env  # noqa: F401  (registers the environments)
from benchmarks import report
from benchmarks.command_line import run
from benchmarks.report import Table, Target, number
from benchmarks.timing import seconds
from world_model.progress import progress_bar

OBSERVATIONS = {"pixels": "frames", "latent": "latents"}
TARGETS = tuple(
    Target(f"{name}_steps_per_s", "at_least", 150.0, f"env-steps/s, {words} as observations")
    for name, words in OBSERVATIONS.items()
)


@dataclass(frozen=True)
class DreamSpeedConfig:
    """Settings of the measurement.

    Attributes:
        env_id: an imagined environment.
        checkpoint: its model, a folder or the name of a shipped one; null: its own.
        num_envs: of the batch.
        num_sampling_steps: of each frame; null: the model's own.
        steps: of the batch, per round.
        rounds: of which the median counts; one more warms up.
    """

    env_id: str = "Vid2World-DoomTakeCover-v0"
    checkpoint: str | None = None
    num_envs: int = 32
    num_sampling_steps: int | None = None
    steps: int = 20
    rounds: int = 5
    seed: int = 0
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: DreamSpeedConfig) -> dict[str, Any]:
    """Measure and write the report. Returns the measures.

    Raises:
        ValueError: sizes below 1, or an environment that is not an imagined one.
    """
    given = config
    for name in ("num_envs", "steps", "rounds"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if config.quick:
        config = replace(config, steps=3, rounds=2, results=report.QUICK_FOLDER)
    with ExitStack() as stack:
        dreams = {name: stack.enter_context(closing(_dream(config, name))) for name in OBSERVATIONS}
        speeds: dict[str, list[float]] = {name: [] for name in dreams}
        for turn in progress_bar(range(config.rounds + 1), "dreaming", "round"):
            for name, env in dreams.items():
                taken = seconds(partial(_step, env), config.steps)
                if turn:
                    speeds[name].append(config.num_envs / taken)
    measures = summary(speeds)
    rows = [
        [OBSERVATIONS[name], number(statistics.median(all_)), f"{number(min(all_))} to {number(max(all_))}"]
        for name, all_ in speeds.items()
    ]
    tables = [
        report.target_table(measures, TARGETS),
        Table("Environment steps a second", ["observations", "median", "range"], rows),
    ]
    notes = f"{config.env_id}, {config.num_envs} environments in one batch."
    report.write("dream_speed", given, measures, tables, folder=config.results, notes=notes)
    return measures


def summary(speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over rounds, and how much faster a step is that decodes nothing."""
    measures: dict[str, Any] = {f"{name}_steps_per_s": statistics.median(found) for name, found in speeds.items()}
    ratios = [latent / pixels for latent, pixels in zip(speeds["latent"], speeds["pixels"], strict=True)]
    return measures | {"latent_over_pixels": statistics.median(ratios)}


def _dream(config: DreamSpeedConfig, observation: str) -> gym.vector.VectorEnv[Any, Any, Any]:
    given: dict[str, Any] = {"checkpoint": config.checkpoint, "num_sampling_steps": config.num_sampling_steps}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        env = gym.make_vec(config.env_id, num_envs=config.num_envs, observation=observation, **given)
    except TypeError as error:
        raise ValueError(f"env_id: expected an imagined environment, got {config.env_id} ({error})") from error
    env.reset(seed=config.seed)
    env.action_space.seed(config.seed)
    return env


def _step(env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
    env.step(env.action_space.sample())


if __name__ == "__main__":
    run("dream_speed", DreamSpeedConfig, main)
