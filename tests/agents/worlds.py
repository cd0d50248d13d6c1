"""Tiny worlds to learn in, imagined and real, with the same frames and actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from tests.conftest import ACTION_SPECS, make_tiny_model
from v2w_env.resets import EpisodeSource
from v2w_env.spaces import space_from_spec
from world_model.model import WorldModel
from world_model.types import ActionSpec

SIZE = (16, 16)
HORIZON = 6
SPECS = {
    "box": ACTION_SPECS["box"],
    "discrete": ACTION_SPECS["discrete"],
    "from_two": ActionSpec("discrete", (), nvec=(3,), start=(2,), dtype="int64"),
    "multi_discrete": ActionSpec("multi_discrete", (2,), nvec=(2, 3), start=(1, 0), dtype="int64"),
}


def make_model(kind: str, size: tuple[int, int] = SIZE) -> WorldModel:
    """Random weights, few layers: these tests take many steps."""
    few = {"channel_mult": (1,), "attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    return make_tiny_model(SPECS[kind], size, model_channels=8, **few)


def make_clips(kind: str, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """Reset clips of colour noise and random actions."""
    rng = np.random.default_rng(0)
    space = space_from_spec(SPECS[kind])
    space.seed(0)
    return {
        "frames": rng.integers(0, 256, (4, 5, *size, 3), np.uint8),
        "actions": np.array([[space.sample() for _ in range(4)] for _ in range(4)]),
    }


def make_source(kind: str, size: tuple[int, int] = SIZE) -> EpisodeSource:
    clips = make_clips(kind, size)
    return EpisodeSource(clips["frames"], clips["actions"], context_frames=4)


def brightness(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """A reward that every test can afford; nothing ends."""
    return frames.mean(axis=(1, 2, 3)) / 255, False


def dark_ends(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """Some episodes end by themselves."""
    light = frames[:, :4, :4].mean(axis=(1, 2, 3)) / 255
    return light, light < 0.475


class Dots(gym.Env):
    """White frames with a dot where the action says; the reward is how far right it is. Ends after ``length`` steps."""

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (20, 24, 3), np.uint8)

    def __init__(self, kind: str = "box", length: int = 9) -> None:
        self.action_space = space_from_spec(SPECS[kind])
        self.length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.place = 0, float(self.np_random.uniform())
        return self._frame(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.time += 1
        first = float(np.ravel(action)[0])
        self.place = first / 512 if isinstance(self.action_space, gym.spaces.Box) else first / 6
        ended = self.time >= self.length
        return self._frame(), self.place, ended, False, {"is_success": self.place > 0.5}

    def _frame(self) -> np.ndarray:
        frame = np.full((20, 24, 3), 255, np.uint8)
        column = int(self.place * 20)
        frame[8:12, column : column + 4] = 0
        return frame


if "AgentDots-v0" not in gym.registry:
    gym.register("AgentDots-v0", Dots, max_episode_steps=50)
