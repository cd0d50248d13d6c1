"""The planning protocol on PushT: which starts, which goals, and what counts as reaching them.

A task begins in the middle of a recorded episode, which is replayed exactly: same seed, same actions. Its goal is the
frame 25 steps later, and only such starts are used after which the block moved. The list of tasks is part of the
repository, so that everybody solves the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from v2w_env.collect.simulator import image_settings, make_simulator
from v2w_env.resets import Start
from world_model.bundle import Replacing
from world_model.data.minari_dataset import MinariEpisodes
from world_model.data.recorded import RecordedDataset

TASKS = Path(__file__).parent / "tasks" / "pusht_planning.json"
SIMULATOR = "gym_pusht/PushT-v0"
GOAL_STEPS = 25  # environment steps from the start to the goal frame, in the recording
BUDGET = 50  # environment steps that a planner may take
DISTANCE = 20.0  # of block and of agent, in the simulator's units, 512 to a side
ANGLE = np.deg2rad(20.0)
HISTORY = 15  # environment steps before the start that are known to the planner
SPACING = 10  # between the starts of two tasks of one episode

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Task:
    """A start and a goal in one recorded episode.

    Attributes:
        episode: id in the dataset.
        seed: that the simulator was reset with.
        start: step at which the planner takes over; the goal is the frame `GOAL_STEPS` later.
    """

    episode: int
    seed: int
    start: int


@dataclass(frozen=True, eq=False)
class Recording:
    """What the dataset knows about a task.

    Attributes:
        actions: [start + GOAL_STEPS, 2], of which the last `GOAL_STEPS` lead to the goal.
        frames: uint8 [start + GOAL_STEPS + 1, h w 3].
        pose: [5], agent x and y, block x, y and angle at the start.
        goal: [5], the same at the goal.
    """

    actions: NDArray[np.float32]
    frames: NDArray[np.uint8]
    pose: NDArray[np.float64]
    goal: NDArray[np.float64]

    @property
    def goal_frame(self) -> NDArray[np.uint8]:
        return self.frames[-1]

    def history(self, start: int, frames: int, block: int) -> Start:
        """The `frames` - 1 frames before the start, `block` steps apart, and the blocks of actions after each."""
        first = start - block * (frames - 1)
        if first < 0:
            raise ValueError(
                f"context_frames: expected at most {start // block + 1} in blocks of {block}, got {frames}"
            )
        actions = self.actions[first:start]
        if block > 1:
            actions = actions.reshape(frames - 1, block, 2)
        return Start(self.frames[first:start:block], actions)


class TaskEnv(gym.Wrapper[Any, Any, Any, Any]):
    """A PushT that begins where a task does and says how far it is from the goal.

    `info` holds `pose` (of agent and block), `reached` and `block_reached` (whether block and agent, or the block
    alone, have been at the goal after some step so far), `at_goal` and `block_at_goal` (now), and `steps`. The episode
    is truncated when the budget is spent; PushT's own success, another goal, does not end it.

    Raises:
        ValueError: if the replay does not arrive where the recording did.
    """

    def __init__(self, task: Task, recording: Recording) -> None:
        height, width = recording.frames.shape[1:3]
        super().__init__(make_simulator(SIMULATOR, image_settings(SIMULATOR, (height, width))).unwrapped)
        self.task, self.recording = task, recording
        self._begin()

    def _begin(self) -> None:
        self.steps, self.reached, self.block_reached, self.at_goal = 0, False, False, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=self.task.seed)
        for action in self.recording.actions[: self.task.start]:
            observation, _, _, _, info = self.env.step(action)
        self._begin()
        pose = _pose(info)
        if not np.allclose(pose, self.recording.pose, atol=1e-6):
            raise ValueError(
                f"task {self.task}: the replay arrives at {pose}, the recording at {self.recording.pose}; record the "
                "dataset again with `v2w collect dataset=pusht` and this version of gym-pusht"
            )
        return observation, self._told(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, _, _, info = self.env.step(np.asarray(action, np.float32))
        self.steps += 1
        told = self._told(info)
        return observation, float(reward), False, self.steps >= BUDGET, told

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        pose = _pose(info)
        agent, block = at_goal(pose, self.recording.goal)
        self.at_goal = agent and block
        self.reached |= self.at_goal
        self.block_reached |= block
        return {
            "pose": pose,
            "reached": self.reached,
            "block_reached": self.block_reached,
            "at_goal": self.at_goal,
            "block_at_goal": block,
            "steps": self.steps,
        }


def at_goal(pose: NDArray[np.float64], goal: NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether the agent, and whether the block, is where `goal` [5] has it."""
    agent = float(np.linalg.norm(pose[:2] - goal[:2])) <= DISTANCE
    block = float(np.linalg.norm(pose[2:4] - goal[2:4])) <= DISTANCE and bool(turned(pose[4], goal[4]) <= ANGLE)
    return agent, block


def turned(a: Any, b: Any) -> Any:
    """Angle between two directions, 0 to pi."""
    return np.abs((np.asarray(a) - b + np.pi) % (2 * np.pi) - np.pi)


def load_tasks(split: Split, count: int | None = None, path: Path = TASKS) -> list[Task]:
    """The first `count` tasks of a split, or all.

    Raises:
        ValueError: more tasks than there are.
    """
    tasks = [Task(**task) for task in json.loads(path.read_text())[split]]
    if count is not None and count > len(tasks):
        raise ValueError(f"num_tasks: expected at most {len(tasks)}, the {split} tasks there are, got {count}")
    return tasks[:count]


def recordings(dataset: RecordedDataset, tasks: Sequence[Task]) -> list[Recording]:
    """Of tasks, from the dataset they were drawn from."""
    episodes = {task.episode: dataset.read(task.episode) for task in tasks}
    found = []
    for task in tasks:
        episode, goal = episodes[task.episode], task.start + GOAL_STEPS
        assert episode.infos is not None
        poses = np.concatenate([episode.infos["pos_agent"], episode.infos["block_pose"]], axis=1)
        found.append(Recording(episode.actions[:goal], episode.frames[: goal + 1], poses[task.start], poses[goal]))
    return found


def draw_tasks(dataset: RecordedDataset, split: Split, count: int, seed: int) -> list[Task]:
    """Starts after which the block moves by at least `DISTANCE` or `ANGLE` until the goal, spread over the episodes.

    Raises:
        ValueError: fewer such starts than `count`.
    """
    reader = dataset.reader
    assert isinstance(reader, MinariEpisodes)
    rng = np.random.default_rng(seed)
    found: list[Task] = []
    for index in dataset.ids(split):
        episode = dataset.read(index)
        assert episode.infos is not None
        block = np.asarray(episode.infos["block_pose"], np.float64)
        starts = np.arange(HISTORY, len(episode) - GOAL_STEPS + 1)
        moved = np.linalg.norm(block[starts + GOAL_STEPS, :2] - block[starts, :2], axis=1) >= DISTANCE
        moved |= turned(block[starts + GOAL_STEPS, 2], block[starts, 2]) >= ANGLE
        taken: list[int] = []
        for start in rng.permutation(starts[moved]):
            if all(abs(start - other) >= SPACING for other in taken):
                taken.append(int(start))
        found += [Task(index, reader.seed(index), start) for start in taken]
    if len(found) < count:
        raise ValueError(f"{dataset.path}: expected at least {count} starts in the {split} split, got {len(found)}")
    chosen = rng.permutation(len(found))[:count]
    return [found[i] for i in chosen]


def write_tasks(dataset: RecordedDataset, path: Path = TASKS, validation: int = 60, test: int = 120) -> None:
    """Draw the tasks and write the list; done once, before any planner was tuned."""
    drawn = {
        "validation": [asdict(task) for task in draw_tasks(dataset, "validation", validation, seed=0)],
        "test": [asdict(task) for task in draw_tasks(dataset, "test", test, seed=0)],
    }
    lines = {split: ",\n".join(f"  {json.dumps(task)}" for task in tasks) for split, tasks in drawn.items()}
    with Replacing(path) as temporary:
        temporary.write_text(
            "{\n" + ",\n".join(f' "{split}": [\n{text}\n ]' for split, text in lines.items()) + "\n}\n"
        )


def _pose(info: dict[str, Any]) -> NDArray[np.float64]:
    return np.concatenate([info["pos_agent"], info["block_pose"]]).astype(np.float64)
