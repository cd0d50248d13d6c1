"""Let a policy play a number of episodes and sum up how it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.arena import Arena
from agents.policies import Policy
from world_model.progress import progress_bar

RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Episodes in the order of their seeds.

    Attributes:
        seeds: Of the episodes' environments.
        returns: Summed rewards, float64 ``[episodes]``.
        lengths: Actions taken.
        simulator_steps: Steps of the simulator: the actions, each repeated for the world model's frame skip.
        terminated: Whether the episode ended by itself, not by a time limit.
        success: Whether its last step reported success; empty where the environment does not say.
        films: The frames of the first episodes, uint8 ``[t h w 3]`` each.
    """

    seeds: tuple[int, ...]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    simulator_steps: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    success: tuple[bool, ...] = ()
    films: tuple[NDArray[np.uint8], ...] = ()

    def summary(self) -> dict[str, Any]:
        """Plain numbers: mean, standard deviation and a 95 % bootstrap interval of the mean return, mean lengths."""
        low, high = interval(self.returns)
        found = {
            "episodes": len(self.returns),
            "mean": float(self.returns.mean()),
            "std": float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0,
            "ci_low": low,
            "ci_high": high,
            "median": float(np.median(self.returns)),
            "min": float(self.returns.min()),
            "max": float(self.returns.max()),
            "mean_length": float(self.lengths.mean()),
            "mean_simulator_steps": float(self.simulator_steps.mean()),
            "std_simulator_steps": float(self.simulator_steps.std(ddof=1)) if len(self.returns) > 1 else 0.0,
            "terminated": float(self.terminated.mean()),
        }
        return found | ({"success": float(np.mean(self.success))} if self.success else {})

    def to_dict(self) -> dict[str, Any]:
        """:meth:`summary` and every episode, ready for JSON."""
        episodes: dict[str, list[Any]] = {
            "seed": list(self.seeds),
            "return": self.returns.tolist(),
            "length": self.lengths.tolist(),
            "simulator_steps": self.simulator_steps.tolist(),
            "terminated": self.terminated.tolist(),
        }
        if self.success:
            episodes["success"] = list(self.success)
        return self.summary() | {"per_episode": episodes}


def evaluate(
    policy: Policy,
    arena: Arena,
    episodes: int,
    seed: int = 0,
    films: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Play ``episodes`` episodes; episode ``i`` is reset with ``seed + i``, however many are played at a time.

    Args:
        policy: Gets the newest frame of each episode that is going on.
        arena: Where; nothing that happens here reaches a training.
        episodes: How many.
        seed: Of the first.
        films: Keep the frames of this many episodes.
        progress: Show a progress bar.

    Raises:
        ValueError: No episode.
    """
    if episodes < 1:
        raise ValueError(f"episodes: expected at least 1, got {episodes}")
    log = [_Episode() for _ in range(episodes)]
    playing = {row: row for row in range(min(arena.num_envs, episodes))}
    begun = len(playing)
    rows = list(playing)
    frames = arena.reset(rows, [seed + row for row in rows])
    policy.reset(rows)
    _film(log, playing, rows, frames, films)
    bar = progress_bar(range(episodes), "playing", "episode", episodes, progress)
    with bar:
        while rows:
            moves = arena.step(rows, policy.act(frames, rows))
            frames = moves.frames
            _film(log, playing, rows, frames, films)
            for i, row in enumerate(rows):
                log[playing[row]].add(moves, i)
            for row in [row for row in rows if log[playing[row]].over]:
                del playing[row]
                bar.update()
                if begun < episodes:
                    playing[row] = begun
                    frames[rows.index(row)] = arena.reset([row], [seed + begun])[0]
                    policy.reset([row])
                    _film(log, playing, [row], frames[[rows.index(row)]], films)
                    begun += 1
            kept = [i for i, row in enumerate(rows) if row in playing]
            frames, rows = frames[kept], [rows[i] for i in kept]
    success = [episode.success for episode in log]
    return Evaluation(
        tuple(range(seed, seed + episodes)),
        np.array([episode.total for episode in log]),
        np.array([episode.length for episode in log]),
        np.array([episode.simulator_steps for episode in log]),
        np.array([episode.terminated for episode in log]),
        tuple(bool(one) for one in success) if None not in success else (),
        tuple(np.stack(episode.frames) for episode in log[:films]),
    )


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The central 95 % of bootstrapped means."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


class _Episode:
    def __init__(self) -> None:
        self.total, self.length, self.simulator_steps = 0.0, 0, 0
        self.over = self.terminated = False
        self.success: bool | None = None
        self.frames: list[NDArray[np.uint8]] = []

    def add(self, moves: Any, i: int) -> None:
        self.total += float(moves.rewards[i])
        self.length += 1
        self.simulator_steps += int(moves.simulator_steps[i])
        self.terminated = bool(moves.terminated[i])
        self.over = self.terminated or bool(moves.truncated[i])
        self.success = moves.success[i]


def _film(
    log: list[_Episode], playing: dict[int, int], rows: Sequence[int], frames: NDArray[np.uint8], films: int
) -> None:
    for row, frame in zip(rows, frames, strict=True):
        if playing[row] < films:
            log[playing[row]].frames.append(frame.copy())
