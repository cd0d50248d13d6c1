"""`v2w plan`: its settings, its film, and what it says of mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from configs import load, options
from planners import PLANNERS
from tests.planners.test_mpc import Dot
from v2w.plan import PlanConfig, run
from v2w.plan_film import Moment, pictures
from world_model.schema import build


@pytest.fixture
def dots() -> Iterator[str]:
    """The real environment of these tests, with frames of the tiny bundle's size."""
    gym.register("TestDot-v0", lambda length=100, render_mode=None: Dot(length, (16, 16)))
    yield "TestDot-v0"
    del gym.registry["TestDot-v0"]


def config(bundle: Path, simulator: str | None, **changes: Any) -> PlanConfig:
    settings = {"horizon": 3, "num_candidates": 8, "num_elites": 4, "num_iterations": 1}
    defaults: dict[str, Any] = {
        "env_id": "Vid2World-v0",
        "env_kwargs": {"checkpoint": str(bundle), "device": "cpu", "num_sampling_steps": 1},
        "settings": settings,
        "simulator": simulator,
        "goal_steps": 2,
        "num_steps": 3,
        "replan_every": 2,
        "panel": 32,
        "progress": False,
    }
    return PlanConfig(**{**defaults, **changes})


@pytest.mark.parametrize("name", options("planner"))
def test_planner_files_hold_every_setting_and_its_default(name: str) -> None:
    values = load("plan", [f"planner={name}"])["planner"]
    assert values.pop("base") == name
    schema = PLANNERS[values.pop("method")].default
    assert set(values) == {f.name for f in fields(schema)}
    settings = build(schema, values)
    assert settings == schema() or name not in PLANNERS, "files named after a planner hold its defaults"


def test_every_planner_has_a_file_and_the_command_every_setting() -> None:
    assert set(PLANNERS) <= set(options("planner"))
    settings = load("plan")
    assert settings.pop("planner")["method"] in PLANNERS
    del settings["env"]
    assert {"env_id", "env_kwargs", "method", "settings"} | set(settings) == {f.name for f in fields(PlanConfig)}
    assert build(PlanConfig, {"env_id": "x"} | settings) == PlanConfig("x", out=Path("runs/plan.mp4"))


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_a_film_of_the_real_and_the_imagined(
    ending: str, tiny_bundle: Path, dots: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "films" / f"plan.{ending}"
    summary = run(config(tiny_bundle, dots, out=film, action_change=0.1))
    assert film.stat().st_size > 0 and list(film.parent.iterdir()) == [film]
    assert summary["steps"] == 3 and np.isfinite(summary["last_cost"])
    out = capsys.readouterr().out
    assert "3 steps, 2 plans of" in out and f"film: {film}" in out


def test_the_goal_may_be_an_image(tiny_bundle: Path, dots: str, tmp_path: Path) -> None:
    picture = tmp_path / "goal.png"
    Image.new("RGB", (32, 32), (255, 0, 0)).save(picture)
    red = run(config(tiny_bundle, dots, goal=str(picture), goal_space="pixels"))
    ahead = run(config(tiny_bundle, dots, goal_space="pixels"))
    assert red["last_cost"] > 3 * ahead["last_cost"], "frames are white but for a dot, and so is what lies ahead"


def test_the_same_seed_gives_the_same_result(tiny_bundle: Path, dots: str) -> None:
    first, again, other = (run(config(tiny_bundle, dots, seed=seed)) for seed in (1, 1, 2))
    for summary in (first, again, other):
        del summary["seconds_per_plan"]
    assert first == again != other


def test_pusht_is_the_simulator_of_a_model_of_it(tiny_bundle: Path) -> None:
    summary = run(config(tiny_bundle, None, method="shooting", settings={"horizon": 2, "num_candidates": 2}))
    assert summary["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "CartPole-v1", "env_kwargs": {}}, "env.id: expected an imagined environment .* got CartPole-v1"),
        ({"goal": "nowhere.png"}, "goal: expected 'ahead' or an image file, got 'nowhere.png'"),
        ({"goal_policy": "walk"}, "policy: expected one of"),
        ({"simulator": "NoSuchEnv-v0"}, "cannot make 'NoSuchEnv-v0'"),
        ({"simulator": "CartPole-v1"}, "envs: expected the action space that the world model learned"),
        ({"method": "cmc"}, "unknown planner 'cmc'"),
        ({"method": "categorical_cem", "settings": {}}, "expected a discrete one, got a Box"),
        ({"settings": {"horizn": 3}}, "unknown key 'icem.horizn'"),
        ({"replan_every": 9}, "replan_every: expected at most the planner's horizon 3, got 9"),
    ],
)
def test_mistakes_are_named(tiny_bundle: Path, dots: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(config(tiny_bundle, **{"simulator": dots, **changes}))


@pytest.mark.parametrize(("name", "value"), [("num_steps", 0), ("goal_steps", 0), ("panel", 0), ("replan_every", 0)])
def test_impossible_settings_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        PlanConfig("x", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out: expected a name that ends in .mp4 or .gif, got 'plan.avi'"):
        PlanConfig("x", out=Path("plan.avi"))


def test_pictures_grow_with_what_is_known() -> None:
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    moments = [
        Moment(white, black, 1.0, 0.5, np.array([0.4, 0.3], np.float32), planned=True),
        Moment(white, black, 0.8, 0.4, np.array([0.3], np.float32)),
        Moment(black, white, float("nan"), float("nan")),
    ]
    made = pictures(moments, white, "test", 32)
    assert len(made) == 3 and {picture.shape for picture in made} == {made[0].shape}
    assert made[0].shape[0] % 2 == made[0].shape[1] % 2 == 0
    curves = [picture[-150:].astype(int) for picture in made]
    blue = [int((curve[..., 2] - curve[..., 0] > 100).sum()) for curve in curves]
    assert blue[0] < blue[1], "the real curve got longer"
    assert made[0][40, 10].tolist() == [255, 255, 255] and made[0][40, 50].tolist() == [0, 0, 0]
    assert pictures([], white, "test", 32) == []
