"""A toy world with rewards and endings: a dot that moves, and a flash that an episode does not survive twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

SIZE = 16
Play = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray, bool]]


def play(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Frames, actions, rewards and whether the episode ended.

    Action 2 of {0, 1, 2} is rare and lights the frame up; the second time it is the end. The reward is the action.
    """
    frames, actions, rewards = [np.full((SIZE, SIZE, 3), 60, np.uint8)], [], []
    lit = 0
    for _ in range(steps):
        action = int(rng.choice(3, p=[0.45, 0.45, 0.1]))
        frame = np.full((SIZE, SIZE, 3), 60, np.uint8)
        frame[4:8, 4 + 4 * (action % 2) : 8 + 4 * (action % 2)] = 200
        if action == 2:
            frame[:] = 255
            lit += 1
        frames.append(frame)
        actions.append(action)
        rewards.append(float(action))
        if lit == 2:
            break
    return np.stack(frames), np.array(actions), np.array(rewards, np.float32), lit == 2


def fade(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """The same, of a light that goes out: each step earns 1, and how dark it is says how near the end. One in four
    episodes is cut short."""
    length = int(rng.integers(steps // 2, steps + 1))
    cut = int(rng.integers(length // 2)) if rng.random() < 0.25 else 0
    light = 8 * np.arange(length, cut - 1, -1)
    frames = np.broadcast_to(light[:, None, None, None], (len(light), SIZE, SIZE, 3)).astype(np.uint8)
    return frames, rng.integers(3, size=length - cut), np.ones(length - cut, np.float32), not cut


def write_outcomes(folder: Path, episodes: int, steps: int = 30, play: Play = play) -> Path:
    """A dataset of `play`."""
    folder.mkdir(parents=True)
    image = gym.spaces.Box(0, 255, play(np.random.default_rng(0), steps)[0].shape[1:], np.uint8)
    storage = MinariStorage.new(folder / "data", image, gym.spaces.Discrete(3), jpeg_encoding=False)
    storage.update_metadata(
        {"dataset_id": "toy-v0", "minari_version": minari.__version__, "v2w": {"env_id": "Toy-v0", "fps": 10.0}}
    )
    rng = np.random.default_rng(0)
    for _ in range(episodes):
        frames, actions, rewards, ended = play(rng, steps)
        last = np.arange(len(actions)) == len(actions) - 1
        buffer = EpisodeBuffer(
            observations=frames,
            actions=actions,
            rewards=rewards,
            terminations=last & ended,
            truncations=last & (not ended),
        )
        storage.update_episodes([buffer])
    return folder
