"""How fast the imagined environment steps, and what streaming is worth.

    python -m benchmarks.speed [env=Vid2World-PushT-v0 num_envs=16 ...]

Comparisons alternate both sides in one process and report the median ratio with its smallest and largest value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model, locate
from benchmarks.recomputation import step_by_recomputation
from benchmarks.report import Table, Target, number
from benchmarks.timing import alternate, median_seconds
from world_model.model import WorldModel
from world_model.progress import progress_bar

DIFFERENCE = 1e-4
"""Largest difference of latents (unit variance, float32) between streaming and recomputation that is rounding."""

TARGETS = (
    Target("steps_per_s", "at_least", 30.0, "gym.make, default settings, steps/s"),
    Target("env_steps_per_s_16", "at_least", 150.0, "16 envs, default settings, env-steps/s"),
    Target("streaming_ratio_1", "at_least", 8.0, "streaming against recomputing the window, 1 env"),
    Target("streaming_ratio_16", "at_least", 8.0, "streaming against recomputing the window, 16 envs"),
    Target("streaming_ratio_16_2_steps", "at_least", 8.0, "the same with 2 denoising steps, 16 envs"),
    Target("streaming_difference", "at_most", DIFFERENCE, "largest difference of their outputs"),
    Target("fork_percent", "at_most", 2.0, "a fork, percent of a step"),
)
KINDS = {"": "float32", "2_steps": "float32, 2 denoising steps"}


@dataclass(frozen=True)
class SpeedConfig:
    """Settings of the speed benchmark.

    `checkpoint` is a folder or the name of a shipped model. `num_sampling_steps` defaults to the checkpoint's own,
    which is what the targets are meant for; the more denoising steps, the more streaming is worth.
    """

    env: str = "Vid2World-PushT-v0"
    checkpoint: str = "pusht"
    num_envs: int = 16
    num_sampling_steps: int | None = None
    steps: int = 60
    rounds: int = 7
    seed: int = 0
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: SpeedConfig) -> dict[str, Any]:
    """Measure and write the report. Returns the measures.

    Raises:
        ValueError: a setting below 1, or streaming and recomputation that disagree.
    """
    for name in ("num_envs", "steps", "rounds"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    given = config
    if config.quick:
        config = replace(config, steps=min(config.steps, 10), rounds=min(config.rounds, 3), results=report.QUICK_FOLDER)
    measures: dict[str, Any] = {}
    for part in progress_bar((measure_env, measure_vector_env, measure_streaming, measure_parts), "measuring", "part"):
        measures |= part(config)
    tables = [report.target_table(measures, TARGETS), _parts_table(measures), _streaming_table(measures, config)]
    notes = "Medians over rounds; streaming and recomputation took turns in one process (min to max in brackets)."
    report.write("speed", given, measures, tables, folder=config.results, notes=notes)
    return measures


def measure_env(config: SpeedConfig) -> dict[str, Any]:
    """`gym.make` with default settings: steps per second, frames included, and what a fork costs beside a step."""
    env = gym.make(config.env, max_episode_steps=-1, **_settings(config))
    env.reset(seed=config.seed)
    env.action_space.seed(config.seed)
    actions = [env.action_space.sample() for _ in range(config.steps)]

    def steps() -> None:
        for action in actions:
            env.step(action)

    inner: Any = env.unwrapped
    step = median_seconds(steps, config.rounds) / config.steps
    fork = median_seconds(lambda: inner.fork(1), config.rounds, repeats=20)
    fork_many = median_seconds(lambda: inner.fork(config.num_envs), config.rounds, repeats=20)
    env.close()
    return {
        "steps_per_s": 1 / step,
        "ms_step": 1e3 * step,
        "ms_fork": 1e3 * fork,
        "fork_percent": 100 * fork / step,
        f"fork_percent_to_{config.num_envs}": 100 * fork_many / step,
    }


def measure_vector_env(config: SpeedConfig) -> dict[str, Any]:
    """`gym.make_vec` with default settings: steps per second, times the number of environments."""
    count = config.num_envs
    env = gym.make_vec(config.env, num_envs=count, **_settings(config))
    env.reset(seed=config.seed)
    env.action_space.seed(config.seed)
    actions = [env.action_space.sample() for _ in range(max(1, config.steps // 4))]

    def steps() -> None:
        for action in actions:
            env.step(action)

    step = median_seconds(steps, config.rounds) / len(actions)
    env.close()
    return {f"env_steps_per_s_{count}": count / step, f"ms_step_{count}": 1e3 * step}


def measure_streaming(config: SpeedConfig) -> dict[str, Any]:
    """Imagining a frame behind a full window: from the state, and by passing the whole window through the network.

    Measured in float32, where both sides are also compared, with the checkpoint's own number of denoising steps and
    with two; and in the type that the checkpoint asks for. Streaming passes `steps + 1` frames where recomputation
    passes `steps` windows, so of a 16-frame window one step can gain a factor of 8 at most, two 10.7.
    """
    measures: dict[str, Any] = {"streaming_difference": 0.0}
    exact, default = load_model(config.checkpoint, dtype="float32"), load_model(config.checkpoint)
    counts = (1, config.num_envs)
    runs = [(exact, count, config.num_sampling_steps, f"{count}") for count in counts]
    runs += [(exact, count, 2, f"{count}_2_steps") for count in counts]
    runs += [(default, count, config.num_sampling_steps, f"{count}_{default.config.dtype}") for count in counts]
    for model, count, steps, suffix in runs:
        with torch.inference_mode():
            measured, difference = _compare_streaming(model, count, replace(config, num_sampling_steps=steps))
        measures |= {f"{key}_{suffix}": value for key, value in measured.items()}
        if model is exact:
            measures["streaming_difference"] = max(measures["streaming_difference"], difference)
    if not measures["streaming_difference"] <= DIFFERENCE:
        raise ValueError(
            f"streaming and recomputation differ by {measures['streaming_difference']:g}, expected at most "
            f"{DIFFERENCE:g}: they do not compute the same, so their times cannot be compared"
        )
    return measures


def _compare_streaming(model: WorldModel, count: int, config: SpeedConfig) -> tuple[dict[str, Any], float]:
    latents, actions, _ = _window(model, count, config.seed)
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps)

    def fresh() -> torch.Generator:
        return torch.Generator().manual_seed(config.seed)

    noise = fresh()
    state = model.init_state(latents, actions[:, :-1], noise)
    after = noise.get_state()

    def streamed() -> torch.Tensor:
        noise.set_state(after)
        return model.step(state, actions[:, -1], noise, sampling)[1]

    def recomputed() -> torch.Tensor:
        return step_by_recomputation(model, latents, actions, fresh(), sampling)

    output = streamed()
    difference = float((output - recomputed()).abs().max())
    # About as much time for either side, so that both meet the same disturbances.
    times = alternate(streamed, recomputed, config.rounds, repeats=(8, 1))
    measured = {
        "streaming_ratio": times.ratio,
        "streaming_ratio_min": min(times.ratios),
        "streaming_ratio_max": max(times.ratios),
        "output_std": float(output.std()),
        "ms_streamed": 1e3 * float(np.median(times.first)),
        "ms_recomputed": 1e3 * float(np.median(times.second)),
    }
    return measured, difference


def measure_parts(config: SpeedConfig) -> dict[str, Any]:
    """Milliseconds of the parts of a step, in the type that the checkpoint asks for: network, decoder, encoder."""
    model = load_model(config.checkpoint)
    with torch.inference_mode():
        return _time_parts(model, 1, config) | _time_parts(model, config.num_envs, config)


def _time_parts(model: WorldModel, count: int, config: SpeedConfig) -> dict[str, Any]:
    latents, actions, generator = _window(model, count, config.seed)
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps)
    state = model.init_state(latents, actions[:, :-1], generator)
    pixels = model.decode(latents[:, :1])
    parts: dict[str, Callable[[], object]] = {
        "network": lambda: model.step(state, actions[:, -1], generator, sampling),
        "decode": lambda: model.decode(latents[:, :1]),
        "encode": lambda: model.encode(pixels),
    }
    return {f"ms_{part}_{count}": 1e3 * median_seconds(do, config.rounds, 5) for part, do in parts.items()}


def _window(model: WorldModel, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """Random latents [count t c h w] and actions [count t a], t one less than the window, and the generator."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, model.config.window - 1, *model.config.latent_shape, generator=generator)
    actions = _actions(model, count * latents.shape[1], seed).reshape(count, latents.shape[1], -1)
    return latents, actions, generator


def _settings(config: SpeedConfig) -> dict[str, Any]:
    """Keyword arguments of `gym.make`: the defaults, unless the config says otherwise."""
    settings: dict[str, Any] = {"checkpoint": str(locate(config.checkpoint))}
    if config.num_sampling_steps is not None:
        settings["num_sampling_steps"] = config.num_sampling_steps
    return settings


def _actions(model: WorldModel, count: int, seed: int) -> torch.Tensor:
    """Random valid actions [count a]."""
    spec = model.config.actions
    rng = np.random.default_rng(seed)
    if spec.kind == "box":
        low, high = np.clip(spec.low, -1e3, 1e3), np.clip(spec.high, -1e3, 1e3)
        return torch.from_numpy(rng.uniform(low, high, (count, spec.size)).astype(np.float32))
    if spec.is_integer:
        return torch.from_numpy(rng.integers(0, spec.nvec, (count, spec.size)))
    return torch.from_numpy(rng.integers(0, 2, (count, spec.size)).astype(np.float32))


def _parts_table(measures: dict[str, Any]) -> Table:
    counts = sorted({int(key.rpartition("_")[2]) for key in measures if key.startswith("ms_network_")})
    rows = [[part, *(number(measures[f"ms_{part}_{n}"]) for n in counts)] for part in ("network", "decode", "encode")]
    return Table("Milliseconds per step", ["part", *(f"batch {n}" for n in counts)], rows)


def _streaming_table(measures: dict[str, Any], config: SpeedConfig) -> Table:
    suffixes = [key.removeprefix("ms_streamed_") for key in measures if key.startswith("ms_streamed_")]
    rows = []
    for suffix in suffixes:
        count, _, kind = suffix.partition("_")
        ratio, low, high = (number(measures[f"streaming_ratio{key}_{suffix}"]) for key in ("", "_min", "_max"))
        times = [number(measures[f"ms_{side}_{suffix}"]) for side in ("streamed", "recomputed")]
        rows.append([count, KINDS.get(kind, kind), *times, f"{ratio} ({low} to {high})"])
    return Table(
        "Streaming against recomputing the window", ["batch", "type", "streamed ms", "recomputed ms", "ratio"], rows
    )


if __name__ == "__main__":
    run("speed", SpeedConfig, main)
