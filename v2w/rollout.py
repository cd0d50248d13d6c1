"""``v2w rollout``: step an environment, imagined or real, with random, recorded or given actions, and film it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from moviepy import ImageSequenceClip
from numpy.typing import NDArray

from benchmarks.film import write_film
from v2w_env import Vid2WorldEnv
from v2w_env.collect.frames import FrameSource
from v2w_env.collect.simulator import make_simulator
from world_model.data import DatasetConfig, open_dataset
from world_model.progress import progress_bar

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class RolloutConfig:
    """What to step, with which actions, and where the film goes.

    Attributes:
        env_id: id for ``gymnasium.make``.
        env_kwargs: its keyword arguments.
        actions: ``"random"``, ``"recorded"`` (of an episode of ``dataset``), or a ``.npy`` file ``[steps, *shape]``.
        dataset: of recordings, for ``actions="recorded"``.
        episode: which episode of its test split, or, where that is empty, of its validation split.
        context_frames: recorded frames that an imagined environment starts from, with ``actions="recorded"``.
        num_steps: steps at most; an episode that ends is followed by a reset.
        seed: of the environment and of the random actions.
        out: ``.mp4`` or ``.gif``, or ``None`` for no film.
        fps: of the film; ``None`` takes the environment's own.
        scale: enlargement of the film.
        progress: show a progress bar.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    actions: str = "random"
    dataset: DatasetConfig | None = None
    episode: int = 0
    context_frames: int = 4
    num_steps: int = 100
    seed: int = 0
    out: Path | None = None
    fps: float | None = None
    scale: int = 1
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("num_steps", "scale", "context_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.actions == "recorded" and self.dataset is None:
            raise ValueError("actions=recorded: expected dataset=FOLDER, got none")
        if self.out is not None and self.out.suffix not in (".mp4", ".gif"):
            raise ValueError(f"out: expected a name that ends in .mp4 or .gif, got {str(self.out)!r}")


@dataclass(frozen=True)
class Plan:
    """The actions of a rollout and, where they were recorded, how to start and what really happened."""

    actions: Iterable[Any]
    start: dict[str, Any] | None = None
    recorded: Frame | None = None


def run(config: RolloutConfig) -> dict[str, float]:
    """Step the environment, write the film, print what happened.

    Returns:
        ``steps``, ``episodes``, ``return`` (summed reward) and ``steps_per_s`` (environment time only).

    Raises:
        ValueError: unusable actions, or an environment that shows no frames.
        FileNotFoundError: no such actions file.
    """
    env = make_simulator(config.env_id, config.env_kwargs)
    try:
        source = FrameSource(env, None)
        plan = _plan(config, env)
        options = plan.start if isinstance(env.unwrapped, Vid2WorldEnv) else None
        observation, _ = env.reset(seed=config.seed, options=options)
        frames = [source(observation)]
        rewards, episodes, seconds = 0.0, 1, 0.0
        steps = progress_bar(plan.actions, config.env_id, "step", config.num_steps, config.progress)
        for action in steps:
            before = time.perf_counter()
            observation, reward, terminated, truncated, _ = env.step(action)
            seconds += time.perf_counter() - before
            rewards += float(reward)
            frames.append(source(observation))
            if terminated or truncated:
                if plan.recorded is not None:
                    break
                observation, _ = env.reset()
                episodes += 1
                frames.append(source(observation))
        fps = config.fps or float(env.metadata.get("render_fps") or 10.0)
    finally:
        env.close()
    count = len(frames) - episodes
    summary = {"steps": count, "episodes": episodes, "return": rewards, "steps_per_s": count / max(seconds, 1e-9)}
    print(
        f"{config.env_id}: {count} steps in {seconds:.1f} s ({summary['steps_per_s']:.1f} steps/s), "
        f"{episodes} episode{'s' if episodes > 1 else ''}, return {rewards:.3g}"
    )
    if config.out is not None:
        if plan.recorded is not None and plan.recorded.shape[1:] == frames[0].shape:
            frames = [np.concatenate(pair, axis=1) for pair in zip(plan.recorded, frames, strict=False)]
            print("left: recorded, right: stepped")
        _film(config.out, np.stack(frames), fps, config.scale)
        print(f"film: {config.out}")
    return summary


def _plan(config: RolloutConfig, env: gym.Env) -> Plan:
    """The actions to take, from the action space, a dataset or a file."""
    if config.actions == "random":
        env.action_space.seed(config.seed)
        return Plan([env.action_space.sample() for _ in range(config.num_steps)])
    if config.actions == "recorded":
        assert config.dataset is not None
        dataset = open_dataset(config.dataset)
        part = next(part for part in ("test", "validation", "train") if dataset.ids(part))
        ids = dataset.ids(part)
        if not 0 <= config.episode < len(ids):
            raise ValueError(f"episode: expected 0 to {len(ids) - 1} (the {part} episodes), got {config.episode}")
        episode = dataset.episode(ids[config.episode])
        first = min(config.context_frames, len(episode))  # the newest of the frames that the dream starts from
        start = {"frames": episode.frames[:first], "actions": episode.actions[: first - 1]}
        actions = episode.actions[first - 1 :][: config.num_steps]
        return Plan(actions, start, episode.frames[first - 1 :])
    path = Path(config.actions)
    if path.suffix != ".npy":
        raise ValueError(f"actions: expected random, recorded or a .npy file, got {config.actions!r}")
    if not path.is_file():
        raise FileNotFoundError(f"actions: no file {config.actions!r}")
    actions = np.load(path, allow_pickle=False)
    expected = ("steps", *(env.action_space.shape or ()))
    if actions.shape[1:] != expected[1:]:
        raise ValueError(f"actions: expected shape {expected} in {path}, got {actions.shape}".replace("'", ""))
    return Plan(actions[: config.num_steps])


def _film(path: Path, frames: Frame, fps: float, scale: int) -> None:
    """Write uint8 frames ``[t h w 3]``; an odd side loses a pixel, as video stores colour in blocks of two."""
    height, width = (side * scale - side * scale % 2 for side in frames.shape[1:3])
    pictures = list(frames.repeat(scale, axis=1).repeat(scale, axis=2)[:, :height, :width])
    if path.suffix == ".mp4":
        write_film(pictures, path, fps)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageSequenceClip(pictures, fps=fps).write_gif(str(path), logger=None)
