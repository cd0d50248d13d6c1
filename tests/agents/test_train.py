"""Training in imagination: what it leaves behind, and that a killed one ends where an uninterrupted one does."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.algorithms import ALGORITHMS, AgentConfig
from agents.dream import GuardConfig
from agents.judge import EvaluationConfig
from agents.loading import load_agent
from agents.logs import STEP, CsvLog, JsonLines
from agents.train import TrainConfig, train
from tests.agents.worlds import HORIZON, brightness, make_model, make_source
from world_model.reward_head import RewardHead, RewardHeadConfig

SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "a2c": {"n_steps": 4},
    "dqn": {
        "buffer_size": 60,
        "learning_starts": 10,
        "batch_size": 4,
        "gradient_steps": 1,
        "target_update_interval": 12,
    },
    "sac": {"buffer_size": 40, "learning_starts": 10, "batch_size": 4, "gradient_steps": 1},
}
NO_JUDGE = EvaluationConfig(every=0)


class Killed(Exception):  # noqa: N818
    pass


class Switch:
    """A reward that can be told to die, as the process would, after so many steps."""

    left = -1

    def __call__(self, frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
        if self.left == 0:
            raise Killed
        self.left -= 1
        light = frames[:, :4, :4].mean(axis=(1, 2, 3)) / 255
        return light, light < 0.475


def config_of(folder: Path, ids: dict[str, str], name: str = "ppo", kind: str = "box", **changes: Any) -> TrainConfig:
    settings = ALGORITHMS[name](**SETTINGS[name])
    agent = AgentConfig(settings, num_envs=2, frame_stack=2, features="small", features_dim=8, net_arch=(8,))
    values: dict[str, Any] = dict(
        env_id=ids[kind], folder=folder, agent=agent, steps=96, evaluation=NO_JUDGE, log_every=16,
        checkpoint_every=32, device="cpu", progress=False,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_agent(folder / "agent.zip").policy.state_dict()


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.startswith("time/") or k == STEP} for row in rows]


@pytest.mark.parametrize(
    ("name", "kind", "observation", "changes"),
    [
        ("ppo", "box", "pixels", {"normalize_rewards": True, "final_learning_rate": 0.0}),
        ("ppo", "discrete", "latent", {}),
        ("a2c", "discrete", "pixels", {}),
        ("dqn", "discrete", "pixels", {"normalize_rewards": True}),
        ("sac", "box", "latent", {}),
        ("ppo", "discrete", "pixels", {"action_repeat": 3}),
    ],
)
def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    ids: dict[str, str], tmp_path: Path, name: str, kind: str, observation: str, changes: dict[str, Any]
) -> None:
    reward = Switch()
    guards = GuardConfig(history_noise_level=30, observation_noise=2.0 if observation == "pixels" else 0.05)
    env_kwargs = {"reward": reward, "observation": observation}
    whole = config_of(tmp_path / "whole", ids, name, kind, env_kwargs=env_kwargs, guards=guards)
    whole = replace(whole, agent=replace(whole.agent, **changes))
    train(whole)
    killed = replace(whole, folder=tmp_path / "killed")
    for left in (21, 18):  # dies behind the first checkpoint, and again behind the second
        reward.left = left * whole.agent.action_repeat
        with pytest.raises(Killed):
            train(killed)
    reward.left = -1
    result = train(killed)
    assert result["finished"] and result["steps"] == 96
    expected, found = weights(whole.folder), weights(killed.folder)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert curve(whole.folder) == curve(killed.folder) and len(curve(whole.folder)) == 6
    states = [torch.load(one.folder / "checkpoint" / "state.pt", weights_only=False) for one in (whole, killed)]
    assert torch.equal(states[0]["streams"]["torch"], states[1]["streams"]["torch"])
    assert torch.equal(states[0]["observations"], states[1]["observations"])


def test_the_judge_leaves_no_trace_in_the_training(ids: dict[str, str], tmp_path: Path) -> None:
    judged = EvaluationConfig(
        every=32, episodes=3, dream_episodes=3, real_envs=2, dream_envs=2, deterministic=False,
        simulator="AgentDots-v0",
    )  # fmt: skip
    plain = config_of(tmp_path / "plain", ids)
    train(plain)
    result = train(replace(plain, folder=tmp_path / "judged", evaluation=judged))
    expected, found = weights(tmp_path / "plain"), weights(tmp_path / "judged")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    report = json.loads((tmp_path / "judged" / "exploitation_gap.json").read_text())
    assert [entry["step"] for entry in report["evaluations"]] == [32, 64, 96]
    latest = report["latest"]
    assert result["gap"] == latest["gap"] == pytest.approx(latest["imagined"]["mean"] - latest["real"]["mean"])
    assert latest["gap_low"] <= latest["gap"] <= latest["gap_high"]
    assert latest["real"]["mean_length"] == latest["imagined"]["mean_length"] == HORIZON
    assert (report["simulator"], report["horizon"]) == ("AgentDots-v0", HORIZON)
    text = (tmp_path / "judged" / "exploitation_gap.md").read_text()
    assert "| 96 | " in text and "horizon: 6" in text and "caution: the imagined reward was not learned" in text
    rows = curve(tmp_path / "judged")
    assert [float(row["evaluation/gap"]) for row in rows if row["evaluation/gap"]] == pytest.approx(
        [entry["gap"] for entry in report["evaluations"]]
    )


def test_what_a_run_leaves_behind(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path, ids, steps=48, keep_every=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = train(config)
    assert result == {"steps": 48, "agent": str(tmp_path / "agent.zip"), "finished": True}
    assert sorted(path.name for path in (tmp_path / "agents").iterdir()) == [
        f"step_0000000{step}.zip" for step in (16, 32, 48)
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        "agent.zip", "agents", "checkpoint", "evaluations.jsonl", "progress.csv", "run.json", "tensorboard",
    }  # fmt: skip
    rows = curve(tmp_path)
    assert [row[STEP] for row in rows] == ["16", "32", "48"]
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "train/loss"} <= set(rows[-1])
    assert rows[-1]["rollout/ep_len_mean"] == str(float(HORIZON))
    events = list((tmp_path / "tensorboard").iterdir())
    assert len(events) == 1 and events[0].stat().st_size > 0
    agent = load_agent(tmp_path / "agent.zip")
    sizes = [(tmp_path / path).stat().st_size for path in ("agent.zip", "checkpoint/model.zip")]
    assert agent._last_obs is None and sizes[0] < sizes[1]


def test_a_finished_run_can_be_extended(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path / "parts", ids, steps=32)
    assert train(config)["steps"] == 32
    assert train(config)["steps"] == 32
    assert train(replace(config, steps=64))["steps"] == 64
    whole = replace(config, folder=tmp_path / "whole", steps=64)
    train(whole)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_learned_reward_goes_on_too(ids: dict[str, str], tmp_path: Path) -> None:
    model = make_model("box")
    torch.manual_seed(1)
    settings = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)
    head = RewardHead(settings, model.config.actions, model.config.latent_shape)
    head.set_statistics(torch.tensor([1.0, 3.0]), torch.tensor([True] + [False] * 4))
    torch.nn.init.normal_(head.judge.weight, std=0.5)
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=settings)
    env_kwargs = {"checkpoint": model, "reset_source": make_source("box"), "device": None, "reward": "learned"}
    config = config_of(tmp_path / "parts", ids, steps=32, env_kwargs=env_kwargs)
    train(config)
    train(replace(config, steps=64))
    train(replace(config, folder=tmp_path / "whole", steps=64))
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert float(curve(tmp_path / "whole")[-1]["rollout/ep_len_mean"]) < HORIZON, "some episodes ended by themselves"


def test_time_limits_end_between_rollouts(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path / "parts", ids, steps=64, max_minutes=0.0)
    result = train(config)
    assert not result["finished"] and result["steps"] == 0
    result = train(replace(config, max_minutes=None))
    assert result["finished"] and result["steps"] == 64
    train(replace(config, folder=tmp_path / "whole", max_minutes=None))
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_another_run_is_not_overwritten(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", ids, steps=16)
    train(config)
    with pytest.raises(ValueError, match=r"holds a training with other settings \(seed: 0 -> 1\)"):
        train(replace(config, seed=1))
    with pytest.raises(ValueError, match="agent: .*gamma"):
        train(replace(config, agent=replace(config.agent, settings=replace(config.agent.settings, gamma=0.9))))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no run.json"):
        train(replace(config, folder=tmp_path / "other"))


def test_a_damaged_checkpoint_is_named(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path, ids, steps=16)
    train(config)
    (tmp_path / "checkpoint" / "state.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="checkpoint: not a readable checkpoint"):
        train(replace(config, steps=32))


def test_a_kill_between_two_checkpoints_loses_neither(ids: dict[str, str], tmp_path: Path) -> None:
    config = config_of(tmp_path, ids, steps=16)
    train(config)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    (tmp_path / "checkpoint.tmp").mkdir()
    assert train(replace(config, steps=32))["steps"] == 32
    assert not (tmp_path / "checkpoint.old").exists() and not (tmp_path / "checkpoint.tmp").exists()


def test_a_dream_that_breaks_stops_the_run_with_step_seed_and_state(ids: dict[str, str], tmp_path: Path) -> None:
    def reward(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
        return np.where(info["elapsed_steps"] == 5, np.inf, 1.0), False

    config = config_of(tmp_path, ids, env_kwargs={"reward": reward}, seed=3)
    with pytest.raises(
        ValueError, match=r"not finite.* at step 4 .*training step 8 of the run with seed 3.*failure.pt"
    ):
        train(config)
    saved = torch.load(tmp_path / "failure.pt", weights_only=False)
    assert saved["state"].elapsed_steps.tolist() == [4, 4] and saved["actions"].shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"env_id": "CartPole-v1"},
            "env.id: expected an imagined environment such as Vid2World-PushT-v0, got CartPole",
        ),
        ({"env_kwargs": {"rewrd": "none"}}, "unknown setting 'rewrd': did you mean 'reward'"),
        ({"env_kwargs": {"reward": "none"}}, "env.kwargs.reward: .* gives no reward"),
        ({"horizon": 0}, "horizon: expected at least 1 step"),
        ({"evaluation": EvaluationConfig(simulator="NoSuch-v0")}, "evaluation: .*'NoSuch-v0'.*evaluation.every=0"),
        ({"evaluation": EvaluationConfig(simulator="CartPole-v1")}, "evaluation: simulator: expected the actions"),
    ],
)
def test_mistakes_are_named_before_anything_is_learned(
    ids: dict[str, str], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(config_of(tmp_path / "run", ids, **changes))


def test_sb3_says_what_does_not_fit(ids: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DQN: The algorithm only supports .*Discrete.* but Box"):
        train(config_of(tmp_path / "dqn", ids, "dqn", "box"))
    config = config_of(tmp_path / "nature", ids)
    with pytest.raises(ValueError, match="features: nature needs frames of at least 36x36"):
        train(replace(config, agent=replace(config.agent, features="nature")))


def test_logs_go_on_where_a_checkpoint_was_taken(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "progress.csv", 0)
    for step in (1, 2, 3):
        log.write({"a": step} | ({"b": 0.5} if step > 1 else {}), {}, step)
    with (tmp_path / "progress.csv").open("a") as file:
        file.write("4,")
    log = CsvLog(tmp_path / "progress.csv", 2)
    log.write({"b": 1.5}, {}, 3)
    rows = curve(tmp_path)
    assert [(row["a"], row["b"], row[STEP]) for row in rows] == [("1", "", "1"), ("2", "0.5", "2"), ("", "1.5", "3")]
    lines = JsonLines(tmp_path / "lines.jsonl", 0)
    for step in (1, 2, 3):
        lines.append({"step": step})
    with (tmp_path / "lines.jsonl").open("a") as file:
        file.write('{"step": 4')
    assert JsonLines(tmp_path / "lines.jsonl", 2).entries == [{"step": 1}, {"step": 2}]
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 2


def test_the_reward_is_part_of_what_a_run_is(ids: dict[str, str], tmp_path: Path) -> None:
    identities = [
        config_of(tmp_path, ids, env_kwargs={"reward": reward}).identity() for reward in (brightness, Switch(), "none")
    ]
    assert len({json.dumps(one) for one in identities}) == 3


@pytest.mark.slow
def test_a_training_killed_for_good_goes_on(ids: dict[str, str], bundles: dict[str, Path], tmp_path: Path) -> None:
    """A real kill of a real process, somewhere in the middle."""
    import signal
    import subprocess
    import sys
    import time

    code = f"""
import sys
from pathlib import Path
import v2w_env
from tests.agents.test_train import config_of
from tests.agents.worlds import brightness
from agents.train import train
v2w_env.register_world_model("Killed-v0", {str(bundles["box"])!r}, {HORIZON}, {{"device": "cpu", "reward": brightness}})
train(config_of(Path(sys.argv[1]), {{"box": "Killed-v0"}}, steps=int(sys.argv[2]), checkpoint_every=16))
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "killed"), "100000"]
    process = subprocess.Popen(command, cwd=root)
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed" / "checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    notes = torch.load(tmp_path / "killed" / "checkpoint" / "state.pt", weights_only=False)["notes"]
    steps = notes["step"] + 64
    for name in ("killed", "whole"):
        subprocess.run([*command[:-2], str(tmp_path / name), str(steps)], cwd=root, check=True)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert curve(tmp_path / "whole") == curve(tmp_path / "killed")
