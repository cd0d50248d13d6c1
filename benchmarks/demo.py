"""The real simulator and its imagined double, side by side under the same actions: `make demo`.

    python -m benchmarks.demo [out=demo episodes=6 steps=60 ...]

A scripted policy acts in the real PushT. The imagined environment gets the first frames and then the same actions, and
sees nothing of what really happens. Writes demo.mp4, demo_error.png, demo.json and demo.md. Needs no network.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.fidelity_measures import HORIZONS, Curves, compare
from benchmarks.fidelity_report import TARGETS, plot
from benchmarks.film import compose, write_film
from benchmarks.loading import locate
from benchmarks.pusht_tracking import track
from benchmarks.report import Table, number
from v2w_env.collect import resolve_policy
from world_model.progress import progress_bar

SIMULATOR = "gym_pusht/PushT-v0"


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo; `checkpoint` is by default the one that belongs to `env`."""

    out: str = "demo"
    env: str = "Vid2World-PushT-v0"
    checkpoint: str | None = None
    episodes: int = 6
    steps: int = 60
    context_frames: int = 4
    policy: str = "pusht_mix"
    seed: int = 2024
    panel: int = 256
    results: str = report.RESULTS_FOLDER
    quick: bool = False


@dataclass(frozen=True)
class Episodes:
    """What happened in the real simulator: frames uint8 [e t h w 3] and actions float32 [e t-1 2]."""

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]


def main(config: DemoConfig) -> dict[str, Any]:
    """Make the film, the picture and the table. Returns the measures.

    Raises:
        ValueError: settings out of range, or a world model of another simulator.
        ModuleNotFoundError: gym-pusht is not installed.
    """
    start, given = time.perf_counter(), config
    if config.quick:
        config = replace(config, episodes=min(config.episodes, 3), steps=min(config.steps, 20))
    if config.episodes < 1 or config.steps < 1 or config.context_frames < 1:
        raise ValueError("episodes, steps and context_frames: expected at least 1 each")
    settings: dict[str, Any] = {} if config.checkpoint is None else {"checkpoint": locate(config.checkpoint)}
    env = gym.make_vec(config.env, num_envs=config.episodes, **settings)
    space = env.single_observation_space
    assert space.shape is not None
    real = play(config, (space.shape[0], space.shape[1]))
    imagined, seconds = dream(env, real, config.context_frames)
    env.close()

    context = config.context_frames
    recorded = real.frames[:, context:]
    curves = compare(imagined, recorded, track(recorded))
    still = np.repeat(real.frames[:, context - 1 : context], recorded.shape[1], axis=1)
    measures: dict[str, Any] = {
        f"{key}_{frame}": float(np.nanmean(values[:, frame - 1]))
        for key, values in curves.items()
        for frame in (*HORIZONS, config.steps)
        if frame <= config.steps
    }
    measures |= {"episodes": config.episodes, "env_steps_per_s": config.episodes * config.steps / seconds}
    out = Path(config.out)
    pictures = film(real.frames, imagined, curves, context, config)
    video = write_film(pictures, out / "demo.mp4", fps=10)
    picture = plot({"imagined": curves, "copy": compare(still, recorded, track(recorded))}, out / "demo_error.png")
    measures["seconds"] = time.perf_counter() - start
    tables = [_table(measures, config), *_recorded(config.results)]
    report.write("demo", given, measures, tables, folder=config.out, files=[video, picture])
    return measures


def play(config: DemoConfig, frame_size: tuple[int, int]) -> Episodes:
    """Let the policy act in the real simulator, with the same view of the world as the imagined one."""
    try:
        import gym_pusht  # noqa: F401  (registers the simulator)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the demo needs the simulator: pip install 'vid2world-gym[sim]'") from error
    height, width = frame_size
    simulator = gym.make(SIMULATOR, obs_type="pixels", observation_width=width, observation_height=height)
    factory = resolve_policy(config.policy)
    count = config.context_frames + config.steps
    frames, actions = [], []
    for index in progress_bar(range(config.episodes), "real simulator", "episode"):
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, index]))
        observation, info = simulator.reset(seed=int(rng.integers(2**31)))
        policy = factory(simulator, rng)
        seen, done = [observation], []
        while len(seen) < count:
            done.append(policy(observation, info))
            # A solved puzzle ends the episode, but the simulator goes on moving, and so does the film.
            observation, _, _, _, info = simulator.step(done[-1])
            seen.append(observation)
        frames.append(np.stack(seen))
        actions.append(np.stack(done))
    simulator.close()
    return Episodes(np.stack(frames), np.stack(actions))


def dream(env: gym.vector.VectorEnv, real: Episodes, context: int) -> tuple[NDArray[np.uint8], float]:
    """Imagined frames uint8 [e n h w 3] from the same start under the same actions, and the seconds stepping took."""
    env.reset(seed=0, options={"frames": real.frames[:, :context], "actions": real.actions[:, : context - 1]})
    frames = []
    start = time.perf_counter()
    for action in progress_bar(real.actions.swapaxes(0, 1)[context - 1 :], "imagined", "step"):
        observation, *_ = env.step(action)
        frames.append(observation.copy())
    return np.stack(frames, axis=1), time.perf_counter() - start


def film(
    real: NDArray[np.uint8], imagined: NDArray[np.uint8], curves: Curves, context: int, config: DemoConfig
) -> list[NDArray[np.uint8]]:
    """The pictures of the film: the context, in which both rows are real, then every imagined step."""
    headings = [f"episode {index + 1}" for index in range(len(real))]
    pictures = []
    for frame in progress_bar(range(real.shape[1]), "drawing", "frame"):
        step = frame - context + 1
        if step < 1:
            title = f"context frame {frame + 1} of {context}: the dream starts from these"
            shown, captions = real[:, frame], ["context"] * len(real)
        else:
            title = f"step {step}: same actions, {config.env} sees none of the real frames any more"
            shown = imagined[:, step - 1]
            captions = [
                _caption({key: values[i, step - 1] for key, values in curves.items()}) for i in range(len(real))
            ]
        pictures.append(compose(real[:, frame], shown, title, headings, captions, config.panel))
    return pictures


def _caption(values: dict[str, float]) -> str:
    # NaN: hidden in the real frame, so there is nothing to compare with.
    errors = {name: values[f"{name}_error"] for name in ("agent", "block")}
    shown = [f"{name} {'hidden' if np.isnan(error) else f'{error:.1f} px'}" for name, error in errors.items()]
    return "  ".join([*shown, f"{values['psnr']:.1f} dB"])


def _table(measures: dict[str, Any], config: DemoConfig) -> Table:
    frames = sorted({frame for frame in (*HORIZONS, config.steps) if frame <= config.steps})
    labels = {
        "psnr": "PSNR, dB",
        "ssim": "SSIM",
        "agent_error": "agent error, px of 64",
        "block_error": "block error, px of 64",
    }
    rows = [[label, *(number(measures[f"{key}_{frame}"]) for frame in frames)] for key, label in labels.items()]
    title = f"This run: {config.episodes} episodes, {measures['env_steps_per_s']:.0f} imagined steps per second"
    return Table(title, ["measure", *(f"step {frame}" for frame in frames)], rows)


def _recorded(results: str) -> list[Table]:
    """The targets against the recorded evaluation on the test split, where there is one."""
    path = Path(results) / "fidelity.json"
    if not path.is_file():
        return []
    recorded = json.loads(path.read_text(encoding="utf-8"))
    title = f"Recorded evaluation: {recorded['clips']} clips of the {recorded['split']} split"
    return [report.target_table(recorded, TARGETS, title)]


if __name__ == "__main__":
    run("demo", DemoConfig, main)
