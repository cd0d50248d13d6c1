"""``v2w agent train`` and ``v2w agent eval``."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from agents.algorithms import ALGORITHMS, AgentConfig
from agents.train import TrainConfig
from configs import load, options
from tests.agents.worlds import HORIZON
from v2w import cli
from v2w.agent import EvalConfig, train_config
from world_model.schema import build

DOTS = "simulator=AgentDots-v0"
SMALL = ["num_envs=2", "frame_stack=2", "features=small", "features_dim=8", "net_arch=[8]"]
QUICK = [*SMALL, "steps=32", "n_steps=8", "batch_size=8", "n_epochs=1", "log_every=16", "progress=false"]
JUDGE = ["every=16", "evaluation.episodes=2", "dream_episodes=2", "real_envs=1", "dream_envs=2", f"evaluation.{DOTS}"]


@pytest.mark.parametrize("name", options("agent"))
def test_agent_files_hold_every_setting(name: str) -> None:
    values = load("agent_train", [f"agent={name}"])["agent"]
    algo = values.pop("algo")
    assert algo in ALGORITHMS and set(values) - {"base"} == {field.name for field in fields(AgentConfig)}
    assert set(values["settings"]) == {field.name for field in fields(ALGORITHMS[algo])}
    assert build(ALGORITHMS[algo], values["settings"]) == ALGORITHMS[algo]() or name not in ALGORITHMS


def test_every_algorithm_has_a_file_and_the_commands_every_setting() -> None:
    assert set(ALGORITHMS) <= set(options("agent"))
    settings = load("agent_train")
    assert train_config(settings) == TrainConfig("Vid2World-DoomTakeCover-v0")
    assert {"env_id", "env_kwargs", *settings} - {"env"} == {field.name for field in fields(TrainConfig)}
    for part in ("guards", "critic", "evaluation"):
        assert set(settings[part]) == {field.name for field in fields(TrainConfig("x").__getattribute__(part))}
    settings = load("agent_eval")
    assert {"env_id", "env_kwargs", *settings} - {"env"} == {field.name for field in fields(EvalConfig)}


def test_train_then_play(ids: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    env = f"env={ids['box']}"
    assert cli.main(["agent", "train", env, "algo=ppo", f"folder={folder}", *QUICK, *JUDGE]) == 0
    out = capsys.readouterr().out
    assert f"agent: {folder}/agent.zip, 32 imagined steps\n" in out and "return: " in out
    assert (folder / "exploitation_gap.md").exists()

    result, film = tmp_path / "result.json", tmp_path / "films" / "real.mp4"
    play = ["agent", "eval", f"{folder}/agent.zip", env, "episodes=3", f"out={result}", "progress=false"]
    assert cli.main([*play, DOTS, f"film={film}", "film_episodes=2"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    saved = json.loads(result.read_text())
    assert summary["where"] == "real" and summary["episodes"] == 3 and summary["mean"] == saved["mean"]
    assert saved["per_episode"]["simulator_steps"] == [9, 9, 9] and saved["settings"]["seed"] == 0
    assert film.stat().st_size > 0

    assert cli.main([*play, "where=dream", "num_envs=2", "horizon=4"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mean_length"] == 4
    assert (
        cli.main(["agent", "eval", "agent=random", env, "where=dream", "episodes=2", "out=null", "progress=false"]) == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mean_length"] == HORIZON


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "stesp=3"], "unknown key 'stesp'. Did you mean 'steps'?"),
        (["train", "lerning_rate=3"], "Did you mean 'agent.settings.learning_rate'?"),
        (["train", "algo=pppo"], "unknown agent 'pppo'. Did you mean 'ppo'?"),
        (["train", "env=pusth"], "unknown env 'pusth'. Did you mean 'pusht'?"),
        (["train", "agent.algo=dpo"], "unknown algo 'dpo'"),
        (["train", "agent.algo=dqn"], "unknown key 'agent.settings.n_steps'"),
        (["train", "env=CartPole-v1", "folder=unused"], "expected an imagined environment such as"),
        (["train", "features=big"], "features: expected one of"),
        (["eval"], "agent: which? v2w agent eval FILE.zip"),
        (["eval", "nowhere.zip", "env=BOX"], "agent: no file 'nowhere.zip'"),
        (["eval", "random", "where=here"], "where: expected one of"),
        (["eval", "random", "film=film.avi"], "film: expected a name that ends in .mp4 or .gif"),
        (["eval", "random", "env=BOX", "simulator=NoSuch-v0"], "cannot make 'NoSuch-v0'"),
    ],
)
def test_a_mistake_gets_one_line(
    arguments: list[str], message: str, ids: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("BOX", ids["box"]) for argument in arguments]
    assert cli.main(["agent", *given]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith(f"v2w agent {arguments[0]}: ") and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["agent"], ["agent", "--help"], ["agent", "-h"]])
def test_agent_alone_says_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "agent train  " in out and "agent eval  " in out and "rollout  " not in out and not err


def test_agents_do_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["agent", "play"])
    assert exit_.value.code == 2 and "v2w agent train or v2w agent eval" in capsys.readouterr().err


def test_what_does_not_fit_an_algorithm_is_said_by_sb3(
    ids: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small: list[Any] = [*SMALL, "evaluation.every=0", f"folder={tmp_path / 'run'}"]
    assert cli.main(["agent", "train", f"env={ids['box']}", "algo=dqn", *small]) == 2
    assert "DQN: The algorithm only supports" in capsys.readouterr().err
