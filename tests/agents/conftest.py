"""Imagined environments of random weights, registered for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import pytest

import v2w_env
from agents.dream import make_dream
from agents.sb3_vec_env import WorldModelVecEnv
from tests.agents.worlds import HORIZON, SPECS, brightness, make_clips, make_model
from world_model.model import WorldModel


@pytest.fixture(scope="session")
def models() -> dict[str, WorldModel]:
    return {kind: make_model(kind) for kind in SPECS}


@pytest.fixture(scope="session")
def bundles(models: dict[str, WorldModel], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {kind: model.save_pretrained(folder / kind, make_clips(kind)) for kind, model in models.items()}


@pytest.fixture(scope="session", autouse=True)
def ids(bundles: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Ids of the worlds, by the kind of their actions."""
    named = {kind: f"Agents-{kind.replace('_', '')}-v0" for kind in SPECS}
    for kind, id in named.items():
        v2w_env.register_world_model(id, bundles[kind], HORIZON, {"device": "cpu", "reward": brightness})
    yield named
    for id in named.values():
        del gym.registry[id]


@pytest.fixture
def dream(ids: dict[str, str]) -> Iterator[Callable[..., WorldModelVecEnv]]:
    """Makes imagined environments for SB3 and closes them: ``dream("discrete", 3, observation="latent")``."""
    made = []

    def make(kind: str = "box", num_envs: int = 2, horizon: int | None = None, **settings: object) -> WorldModelVecEnv:
        made.append(make_dream(ids[kind], num_envs, settings, horizon))
        return made[-1]

    yield make
    for env in made:
        env.close()
