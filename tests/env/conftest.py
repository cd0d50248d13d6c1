"""The tiny world model with 40x40 frames so that SB3's checker takes them for images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import v2w_env
from tests.conftest import make_tiny_model
from v2w_env.resets import EpisodeSource
from v2w_env.spaces import space_from_spec
from world_model.model import WorldModel
from world_model.types import ActionSpec

SIZE = (40, 40)
BOX = ActionSpec("box", (2,), low=(0.0, 0.0), high=(512.0, 512.0))


def small_model(actions: ActionSpec = BOX) -> WorldModel:
    """The tiny model with one resolution less: these tests take many steps."""
    return make_tiny_model(actions, SIZE, channel_mult=(1,), attention_downsampling=(1,))


def small_clips(actions: ActionSpec = BOX, num_clips: int = 5, frames: int = 7) -> dict[str, np.ndarray]:
    """Reset clips of colour noise and random actions."""
    rng = np.random.default_rng(0)
    space = space_from_spec(actions)
    space.seed(0)
    return {
        "frames": rng.integers(0, 256, (num_clips, frames, *SIZE, 3), np.uint8),
        "actions": np.array([[space.sample() for _ in range(frames - 1)] for _ in range(num_clips)]),
    }


@pytest.fixture(scope="session")
def model() -> WorldModel:
    return small_model()


@pytest.fixture(scope="session")
def source() -> EpisodeSource:
    clips = small_clips()
    return EpisodeSource(clips["frames"], clips["actions"], context_frames=4)


@pytest.fixture(scope="session")
def bundle(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save_pretrained(tmp_path_factory.mktemp("bundle"), episodes=small_clips())


@pytest.fixture(scope="session")
def world_id(bundle: Path) -> Iterator[str]:
    """A registered id of the small model, with episodes of 12 steps."""
    import gymnasium as gym

    v2w_env.register_world_model("TestWorld-v0", bundle, max_episode_steps=12)
    yield "TestWorld-v0"
    del gym.registry["TestWorld-v0"]
