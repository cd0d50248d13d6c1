"""Recorded starts for the evaluation of policies: a moment of an episode that both worlds can begin from.

The dream begins from the frames and actions up to that moment, the simulator by replaying the episode to it: the same
seed and the same actions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.real import RealEnv, open_simulator
from world_model.config import WorldModelConfig
from world_model.data.minari_dataset import MinariEpisodes
from world_model.data.recorded import RecordedDataset

REPLAY_ERROR = 2.0  # mean grey levels by which a replayed frame may differ from the recorded one

SPACING = 25  # steps between two starts in one episode

Where = Literal["middle", "first"]


@dataclass(frozen=True, eq=False)
class RecordedStart:
    """Where policies take over.

    Attributes:
        episode: id in the dataset.
        seed: that the simulator was reset with.
        actions: [step *shape], all that were taken before, in the world model's blocks.
        frames: uint8 [t h w 3], the last ones, of which the last is the first that policies see.
    """

    episode: int
    seed: int
    actions: NDArray[Any]
    frames: NDArray[np.uint8]

    @property
    def context_actions(self) -> NDArray[Any]:
        """[t-1 *shape], between the frames."""
        return self.actions[len(self.actions) - len(self.frames) + 1 :]

    def digest(self) -> str:
        """Differs when the start does."""
        found = hashlib.sha256(self.frames.tobytes() + np.ascontiguousarray(self.actions).tobytes())
        return f"{self.seed}-{found.hexdigest()[:12]}"


def draw_starts(
    dataset: RecordedDataset,
    parts: Sequence[str],
    count: int,
    context_frames: int,
    where: Where,
    seed: int = 0,
    suits: Callable[[NDArray[np.uint8]], NDArray[np.bool_]] | None = None,
    action_block: int = 1,
) -> list[RecordedStart]:
    """`count` starts, in as many different episodes as there are, and at least `SPACING` apart in the same one.

    Args:
        dataset: recorded by `v2w collect`, which keeps the seeds; of single actions.
        parts: of the split, one after the other.
        context_frames: that the dream begins with.
        where: "first": the first frame of an episode, alone; "middle": drawn from those with a whole context.
        suits: frames uint8 [n h w 3] -> which of them may be a start; default all.
        action_block: of the world model: a start is a multiple of it after its episode's beginning.

    Raises:
        ValueError: the dataset keeps no seeds, or has too few starts.
    """
    reader = dataset.reader
    if not isinstance(reader, MinariEpisodes):
        raise ValueError(f"{dataset.path}: expected a dataset of `v2w collect`, which knows its seeds")
    rng = np.random.default_rng(seed)
    found: list[tuple[int, int, int]] = []
    for index in [index for part in parts for index in rng.permutation(dataset.ids(part)).tolist()]:
        steps = np.zeros(1, np.int64)
        if where == "middle":
            frames = dataset.read(index).frames
            steps = np.arange((context_frames - 1) * action_block, len(frames), action_block)
            steps = steps if suits is None or not len(steps) else steps[suits(frames[steps])]
        taken: list[int] = []
        for step in rng.permutation(steps).tolist():
            if all(abs(step - other) >= SPACING for other in taken):
                taken.append(step)
        found += [(place, index, step) for place, step in enumerate(taken)]
    found.sort(key=lambda start: start[0])  # a first start of each episode, then a second one, ...
    if len(found) < count:
        raise ValueError(
            f"num_starts: expected at most {len(found)}, the starts in {' and '.join(parts)} episodes, got {count}"
        )
    return [_start(dataset, reader, index, step, context_frames, action_block) for _, index, step in found[:count]]


def replay_env(config: WorldModelConfig, simulator: str | None = None) -> RealEnv:
    """The real simulator without a time limit of its own, looking as the dream does."""
    return RealEnv(open_simulator(config, simulator).unwrapped, config)


def replay(env: gym.Env[np.ndarray, Any], start: RecordedStart) -> NDArray[np.uint8]:
    """Bring `env` to a start; the frame that it shows then, uint8 [h w 3].

    Raises:
        ValueError: it does not arrive where the recording did.
    """
    frame, _ = env.reset(seed=start.seed)
    for action in start.actions:
        frame, *_ = env.step(action)
    error = float(np.abs(frame.astype(np.float64) - start.frames[-1]).mean())
    if error > REPLAY_ERROR:
        raise ValueError(
            f"episode {start.episode}: the replay differs from the recording by {error:.1f} grey levels after "
            f"{len(start.actions)} steps; record the dataset again with this version of the simulator"
        )
    return frame


def together(starts: Sequence[RecordedStart]) -> dict[str, NDArray[Any]]:
    """Reset options of an imagined environment with one start in each row."""
    frames = np.stack([start.frames for start in starts])
    return {"frames": frames, "actions": np.stack([start.context_actions for start in starts])}


def _start(
    dataset: RecordedDataset, reader: MinariEpisodes, index: int, step: int, context_frames: int, action_block: int
) -> RecordedStart:
    episode = dataset.read(index)
    first = max(0, step - (context_frames - 1) * action_block)
    actions = episode.actions[:step]
    if action_block > 1:
        actions = actions.reshape(step // action_block, action_block, *actions.shape[1:])
    return RecordedStart(index, reader.seed(index), actions, episode.frames[first : step + 1 : action_block])
