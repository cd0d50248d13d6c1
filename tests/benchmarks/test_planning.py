"""The planning benchmark: its tasks, the simulator that the oracle plans in, and what attempts amount to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.loading import load_model
from benchmarks.planning import Fewer, PlanningConfig, main
from benchmarks.planning_log import Attempt, AttemptLog
from benchmarks.planning_report import summary, write_planning
from benchmarks.planning_rows import TOLERANCE, Setup, attempt
from benchmarks.planning_simulator import PushTSimulator
from benchmarks.planning_tasks import BUDGET, GOAL_STEPS, Recording, Task, TaskEnv, at_goal, load_tasks, turned
from benchmarks.planning_workers import attempts
from planners import GoalState, Outcome
from tests.conftest import PUSHT_ACTIONS
from v2w_env.collect.pusht_policy import pusht_mix
from v2w_env.collect.simulator import make_simulator
from world_model.model import WorldModelConfig

SEED, START = 3, 15


@pytest.fixture(scope="module")
def recording() -> Recording:
    """An episode in which the block is pushed about."""
    kwargs = {"obs_type": "pixels", "observation_width": 64, "observation_height": 64}
    env = make_simulator("gym_pusht/PushT-v0", kwargs).unwrapped
    frame, info = env.reset(seed=SEED)
    policy = pusht_mix(env, np.random.default_rng(1))
    frames, actions, poses = [frame], [], []
    for _ in range(START + GOAL_STEPS):
        poses.append(np.concatenate([info["pos_agent"], info["block_pose"]]))
        actions.append(policy(frame, info))
        frame, _, _, _, info = env.step(actions[-1])
        frames.append(frame)
    poses.append(np.concatenate([info["pos_agent"], info["block_pose"]]))
    return Recording(np.stack(actions), np.stack(frames), poses[START], poses[-1])


@pytest.fixture
def env(recording: Recording) -> TaskEnv:
    return TaskEnv(Task(0, SEED, START), recording)


def test_the_recorded_actions_reach_the_goal(env: TaskEnv, recording: Recording) -> None:
    frame, info = env.reset()
    assert np.array_equal(frame, recording.frames[START]) and info["steps"] == 0
    for action in recording.actions[START:]:
        frame, _, terminated, truncated, info = env.step(action)
    assert np.array_equal(frame, recording.goal_frame)
    assert info["reached"] and info["at_goal"] and not terminated and not truncated
    for _ in range(BUDGET - GOAL_STEPS):
        *_, truncated, info = env.step(np.array([0.0, 0.0]))
    assert truncated and info["reached"] and not info["at_goal"]


def test_another_recording_is_noticed(recording: Recording) -> None:
    with pytest.raises(ValueError, match="record the dataset again"):
        TaskEnv(Task(0, SEED + 1, START), recording).reset()


def test_goals_are_poses() -> None:
    goal = np.array([100.0, 100, 300, 300, 3.1])
    assert at_goal(goal + np.array([14, 14, 0, 0, 0]), goal) == (True, True)
    assert at_goal(goal + np.array([15, 15, 0, 0, 0]), goal) == (False, True)
    assert at_goal(goal + np.array([0, 0, 15, 15, 0]), goal) == (True, False)
    assert at_goal(goal + np.array([0, 0, 0, 0, 0.3 + 4 * np.pi]), goal) == (True, True)
    assert at_goal(goal - np.array([0, 0, 0, 0, 0.4]), goal) == (True, False)
    assert turned(3.1, -3.1) == pytest.approx(2 * np.pi - 6.2)


def test_history_in_blocks(recording: Recording) -> None:
    start = recording.history(START, 3, 5)
    assert np.array_equal(start.frames, recording.frames[[5, 10]]) and start.actions.shape == (2, 5, 2)
    assert np.array_equal(start.actions.reshape(10, 2), recording.actions[5:15])
    with pytest.raises(ValueError, match="context_frames: expected at most 4 in blocks of 5"):
        recording.history(START, 5, 5)


def test_the_oracle_sees_what_the_simulator_does(env: TaskEnv, recording: Recording) -> None:
    config = WorldModelConfig("like", PUSHT_ACTIONS.block(5), "gym_pusht/PushT-v0", action_block=5)
    simulator = PushTSimulator(config)
    env.reset()
    state = simulator.state([env], torch.zeros(1, 10))
    actions = torch.from_numpy(recording.actions[START:]).reshape(1, 5, 10)
    after, poses = simulator.rollout(state.repeat(2), actions.repeat(2, 1, 1), torch.Generator())
    assert torch.equal(poses[0], poses[1])
    for action in recording.actions[START:]:
        _, _, _, _, info = env.step(action)
    assert np.allclose(poses[0, -1, :, 0, 0].numpy(), info["pose"], atol=1e-3)
    objective = GoalState(simulator.as_world_model(), recording.goal.astype(np.float32), TOLERANCE, "best", failure=1.0)
    seen = Outcome(poses[:, None], actions[:, None].expand(2, -1, -1, -1), actions[:, 0], simulator.as_world_model())
    assert float(objective(seen).max()) == pytest.approx(0, abs=1e-6)
    assert float(objective.per_step(seen)[0, 0, 0]) > 0.1
    drawn = (simulator.decode(poses[:1, -1:])[0, 0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(drawn.numpy() - recording.goal_frame).mean() < 0.2
    one, _ = simulator.step(after.select([1]), actions[:, 0], torch.Generator())
    assert one.batch_size == 1


def test_the_oracle_tries_what_the_shipped_prior_suggests(env: TaskEnv, recording: Recording) -> None:
    """The nearest of its suggestions for a recorded push leaves less to do than standing still."""
    model = load_model("pusht_blocks")
    simulator = PushTSimulator(model.config, model.action_prior)
    env.reset()
    before = torch.from_numpy(recording.actions[START - 5 : START]).reshape(1, 10)
    state = simulator.state([env], before)
    world = simulator.as_world_model()
    objective = GoalState(world, recording.goal.astype(np.float32), TOLERANCE, "best")

    def lowest(actions: Tensor) -> float:
        _, poses = simulator.rollout(state.repeat(len(actions)), actions, torch.Generator())
        return float(objective(Outcome(poses[None], actions[None], actions[None, :, 0], world)).min())

    suggested = objective.suggest(state, 5, 32, torch.Generator().manual_seed(0))
    assert suggested is not None and suggested.shape == (1, 32, 5, 10)
    held = before[:, -2:].repeat(1, 5).expand(1, 5, -1)
    assert lowest(suggested[0]) < 0.5 * lowest(held)


def test_kept_attempts_depend_on_what_they_used() -> None:
    model, config = load_model("pusht_blocks"), PlanningConfig()
    setup = Setup(model, [], [], config)
    rows = ("cem", "oracle_cem", "prior", "prior_cem", "oracle_prior_cem")
    before = {row: setup.identity(row) for row in rows}
    assert model.action_prior is not None
    with torch.no_grad():
        model.action_prior.spread[0, 0] += 1
    assert {row for row in rows if setup.identity(row) != before[row]} == {"prior", "prior_cem", "oracle_prior_cem"}


def test_a_row_may_have_a_name_of_its_own(recording: Recording) -> None:
    model = load_model("pusht_blocks")
    setup = Setup(model, [Task(0, SEED, START)], [recording], PlanningConfig())
    (done,) = attempt(setup, "oracle_prior", [(0, 0)])  # random shooting with one candidate, the prior's
    assert done.plans > 0 and done.imagined_steps < 100
    with pytest.raises(ValueError, match="unknown row 'prior'"):
        main(PlanningConfig(rows=("prior",), settings={"cem": {}}))


def test_the_committed_tasks_are_apart() -> None:
    validation, test = load_tasks("validation"), load_tasks("test")
    assert len(test) >= 100 and len(validation) >= 50
    assert not {task.episode for task in validation} & {task.episode for task in test}
    with pytest.raises(ValueError, match="num_tasks: expected at most"):
        load_tasks("test", 1000)


def test_attempts_survive_a_stop(tmp_path: Path) -> None:
    identity = {"row": "cem", "split": "test", "replan_every": 5}
    log = AttemptLog(tmp_path, identity)
    log.add(Attempt(0, 0, True, True, False, 30, (1.0, 2.0), (1.5, 2.5), 3.0, 1, 320))
    with log.path.open("a") as file:
        file.write('{"task": 1, "se')  # killed here
    again = AttemptLog(tmp_path, identity)
    assert (0, 0) in again and (1, 0) not in again
    again.add(Attempt(1, 0, False, True, False, 50))
    again = AttemptLog(tmp_path, identity)
    assert [one.reached for one in again.attempts(2, 1)] == [True, False]
    assert (0, 0) not in AttemptLog(tmp_path, {**identity, "replan_every": 2})


def test_workers_change_the_speed_not_the_result(recording: Recording) -> None:
    def tried(workers: int) -> list[Attempt]:
        config = PlanningConfig(workers=workers, tasks_at_once=1)
        setup = Setup(None, [Task(0, SEED, START)], [recording], config)  # type: ignore[arg-type]
        found = [one for done in attempts(setup, "random", [(0, seed) for seed in range(3)]) for one in done]
        return sorted(found, key=lambda one: one.seed)

    assert tried(2) == tried(1)
    assert [one.seed for one in tried(1)] == [0, 1, 2]


def test_measures() -> None:
    def tries(row: list[bool], **more: object) -> list[Attempt]:
        return [Attempt(i // 2, i % 2, ok, True, False, 50, **more) for i, ok in enumerate(row)]  # type: ignore[arg-type]

    planned = {"predicted_costs": (1.0, 2.0, 3.0), "real_costs": (2.0, 4.0, 6.0), "plans": 2, "planning_seconds": 4.0}
    measures = summary(
        {
            "hold": tries([False] * 4),
            "oracle_cem": tries([True] * 4, **planned),
            "cem": tries([True, True, False, True], **planned),
        }
    )
    assert measures["cem_success"] == 0.75 and measures["hold_success"] == 0 and measures["cem_block"] == 1
    assert measures["best"] == "cem" and measures["best_over_oracle"] == 0.75
    assert measures["cem_correlation"] == pytest.approx(1) and measures["cem_seconds_per_plan"] == 2.0


def test_rows_may_be_given_less() -> None:
    config = PlanningConfig(
        num_tasks=10, seeds=3, fewer={"cem": Fewer(seeds=1), "icem": Fewer(4), "mppi": Fewer(20, 5)}
    )
    extents = {row: config.extent(row) for row in ("hold", "random", "shooting", "cem", "icem", "mppi")}
    assert extents == {
        "hold": (10, 1), "random": (10, 3), "shooting": (10, 3), "cem": (10, 1), "icem": (4, 3), "mppi": (10, 3),
    }  # fmt: skip
    with pytest.raises(ValueError, match="fewer, tasks: expected at least 1, got 0"):
        Fewer(tasks=0)
    with pytest.raises(ValueError, match=r"unknown row in fewer 'icm'.*did you mean 'icem'"):
        main(PlanningConfig(fewer={"icm": Fewer(1)}))


def test_the_best_planner_was_given_all_tasks(tmp_path: Path) -> None:
    found = {
        "oracle_cem": [Attempt(task, 0, True, True, True, 50, plans=1) for task in range(4)],
        "cem": [Attempt(task, seed, task > 0, True, True, 50, plans=1) for task in range(4) for seed in range(2)],
        "icem": [Attempt(0, 0, True, True, True, 50, plans=1)],
    }
    measures = summary(found)
    assert measures["icem_success"] == 1 and measures["best"] == "cem" and measures["best_over_oracle"] == 0.75
    path = write_planning(PlanningConfig(), measures, found, str(tmp_path))
    text = path.with_suffix(".md").read_text()
    assert "| cem | 4 x 2 | 75% " in text and "| icem | 1 x 1 | 100% " in text
    first = text[text.index("The first 1 of them") :]
    assert "| cem | 1 x 1 | 0% " in first


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match=r"unknown row 'icm'.*did you mean 'icem'"):
        main(PlanningConfig(rows=("icm",)))
    with pytest.raises(ValueError, match="num_tasks: expected at least 1"):
        main(replace(PlanningConfig(), num_tasks=0))


def test_the_list_is_plain_json() -> None:
    from benchmarks.planning_tasks import TASKS

    assert set(json.loads(TASKS.read_text())) == {"validation", "test"}
