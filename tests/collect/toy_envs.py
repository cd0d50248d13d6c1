"""Tiny environments with every kind of action space, registered on import."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

SPACES: dict[str, gym.Space] = {
    "Box": gym.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 5.0], np.float32)),
    "Discrete": gym.spaces.Discrete(3, start=1),
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 4, 3]),
    "MultiBinary": gym.spaces.MultiBinary(4),
}


class ToyEnv(gym.Env):
    """Frames of one colour that counts the steps; ends after `length` steps. Image under "pixels" of a Dict."""

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 20}  # noqa: RUF012

    def __init__(self, kind: str = "Box", length: int = 9, height: int = 12, width: int = 10) -> None:
        self.action_space = SPACES[kind]
        image = gym.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({"pixels": image, "time": gym.spaces.Box(0, 255, (1,), np.float32)})
        self.length = length
        self.shape = (height, width, 3)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        self.offset = int(self.np_random.integers(100))
        return self._observe(), {"time": self.time}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.time += 1
        return self._observe(), 1.0, self.time >= self.length, False, {"time": self.time}

    def _observe(self) -> dict[str, np.ndarray]:
        return {
            "pixels": np.full(self.shape, self.offset + self.time, np.uint8),
            "time": np.array([self.time], np.float32),
        }


class NoPixels(gym.Env):
    """Neither an image observation nor a renderer."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = None


def constant_policy(env: gym.Env, rng: np.random.Generator) -> Any:
    """The smallest policy of one's own."""
    return lambda observation, info: np.zeros(env.action_space.shape, env.action_space.dtype)


def failing_policy(env: gym.Env, rng: np.random.Generator) -> Any:
    """Fails as a user's code would."""

    class OwnError(Exception):
        pass

    raise OwnError("my own mistake")


def lethal_policy(env: gym.Env, rng: np.random.Generator) -> Any:
    """Kills its process, as the out-of-memory killer would."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


class Lamp(gym.Env):
    """A frame as bright as the lamp, which the action makes brighter or darker; it burns out after `length` steps."""

    action_space = gym.spaces.Box(0.0, 512.0, (2,), np.float32)
    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)

    def __init__(self, length: int = 1000, lengths: tuple[int, ...] = ()) -> None:
        self.length, self.lengths = length, lengths
        self.level = 0.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.level, self.left = float(self.np_random.uniform(0.2, 0.8)), self.length
        if self.lengths:
            self.left = self.lengths[int(self.np_random.integers(len(self.lengths)))]
        return self.frame(), {"level": self.level}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.left > 0, "stepped after its end"
        self.level, self.left = next_level(self.level, action), self.left - 1
        return self.frame(), 0.0, self.left == 0, False, {"level": self.level}

    def frame(self) -> np.ndarray:
        return np.full((16, 16, 3), round(255 * self.level), np.uint8)


def next_level(level: float, action: Any) -> float:
    return float(np.clip(level + (float(action[0]) - 256.0) / 2560.0, 0.0, 1.0))


def settle_lamp(env: gym.Env, frame: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    lamp: Any = env.unwrapped
    lamp.level = float(frame.mean()) / 255.0
    return lamp.frame(), {"level": lamp.level}


def forgetful_settle(env: gym.Env, frame: np.ndarray) -> dict[str, Any]:
    return {}


def level_policy(env: gym.Env, rng: np.random.Generator) -> Any:
    """Tells in its second action what level it was told."""
    return lambda observation, info: np.array([rng.uniform(0, 512), 512 * info["level"]], np.float32)


if "Toy-v0" not in gym.registry:
    gym.register("Toy-v0", ToyEnv, max_episode_steps=100)
    gym.register("NoPixels-v0", NoPixels)
    gym.register("Lamp-v0", Lamp)
