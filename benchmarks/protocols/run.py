"""The engine: imagine every film of a protocol, score it, keep it. Films that are there already are not made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.film_files import read_film, write_film
from benchmarks.protocols.actions import directions, held_keys, random_keys
from benchmarks.protocols.clips import FilmTask, frames_needed
from benchmarks.protocols.drift import drift
from benchmarks.protocols.imagine import Imaginer, Manner, imagine_films
from benchmarks.protocols.run_folder import IMAGINED, RANDOM, RunFolder
from benchmarks.protocols.table import Protocol
from benchmarks.scoring import Scorer, Scores, View
from world_model.data.evaluation_clips import read_clip
from world_model.data.recorded import RecordedDataset
from world_model.progress import progress_bar


@dataclass(frozen=True)
class Run:
    """Everything that a run is made of.

    Attributes:
        protocol: with `actions` as they are wanted.
        model: as it is to be evaluated.
        dataset: whose frames have the size of the model's.
        folder: where films and scores go.
        manner: how films are imagined.
        view: what of the frames is measured.
        scorer: None where there is no recorded film to compare with.
        measured_on: the frames as imagined, or the films read back from disk, as the release does; those are lossy.
        random_actions: make a second film of each clip under random actions.
    """

    protocol: Protocol
    model: Imaginer
    dataset: RecordedDataset
    folder: RunFolder
    manner: Manner
    view: View
    scorer: Scorer | None
    measured_on: Literal["frames", "video"] = "frames"
    random_actions: bool = False


def run_films(run: Run, tasks: Sequence[FilmTask], batch_size: int = 1, progress: bool = True) -> int:
    """Imagine and score the films that are not finished; returns how many.

    A film is finished as soon as its batch is, so an interrupted run loses one batch at most.
    """
    waiting = [task for task in tasks if not run.folder.is_finished(task.name)]
    with progress_bar(waiting, run.protocol.name, "film", show=progress) as bar:
        for first in range(0, len(waiting), batch_size):
            batch = waiting[first : first + batch_size]
            _run_batch(run, batch)
            bar.update(len(batch))
    return len(waiting)


def _run_batch(run: Run, batch: Sequence[FilmTask]) -> None:
    protocol, context = run.protocol, run.protocol.context_frames
    clips = [read_clip(run.dataset, task.place, frames_needed(protocol)) for task in batch]
    frames = np.stack([clip["frames"].numpy() for clip in clips])
    known = torch.stack([clip["actions"].float() for clip in clips])
    numbers = [task.clip for task in batch]
    actions = torch.stack(
        [_actions(protocol, task, row, run.manner.seed) for task, row in zip(batch, known, strict=True)]
    )
    films = imagine_films(run.model, frames[:, :context], actions, numbers, run.manner)
    doubles: NDArray[np.uint8] | None = None
    if run.random_actions:
        other = torch.stack(
            [_random(protocol, task, row, run.manner.seed) for task, row in zip(batch, actions, strict=True)]
        )
        doubles = imagine_films(run.model, frames[:, :context], other, numbers, run.manner)
    for row, task in enumerate(batch):
        double = None if doubles is None else doubles[row]
        recorded = frames[row] if protocol.actions == "recorded" else None
        _keep(run, task, films[row], recorded, double, actions[row])


def _keep(
    run: Run,
    task: FilmTask,
    film: NDArray[np.uint8],
    recorded: NDArray[np.uint8] | None,
    double: NDArray[np.uint8] | None,
    actions: Tensor,
) -> None:
    """Write the films, then what they score."""
    files, fps = run.folder.files(task.name), run.protocol.fps
    written = {IMAGINED: (film, files.imagined), RANDOM: (double, files.under_random_actions)}
    if recorded is not None:
        written["recorded"] = (recorded, files.recorded)
    frames: dict[str, NDArray[np.uint8]] = {}
    for kind, (content, path) in written.items():
        if content is not None:
            write_film(content, path, fps)
            frames[kind] = read_film(path) if run.measured_on == "video" else content
    if recorded is None:
        _save_actions(actions, files.actions)
        scores = {IMAGINED: drift(frames[IMAGINED], run.protocol.context_frames, run.view)}
    else:
        assert run.scorer is not None
        scores = {kind: _score(run, frames, kind) for kind in (IMAGINED, RANDOM) if kind in frames}
    about: dict[str, Any] = {
        "episode": run.dataset.name(task.place.episode),
        "start": task.place.start,
        "direction": task.direction,
    }
    run.folder.save(task.name, about, scores)


def _score(run: Run, frames: dict[str, NDArray[np.uint8]], kind: str) -> Scores:
    assert run.scorer is not None
    return run.scorer(frames[kind], frames["recorded"], run.view)


def _actions(protocol: Protocol, task: FilmTask, known: Tensor, seed: int) -> Tensor:
    """All actions of a film [t-1 a]: those between the context frames are recorded, what follows is the protocol's."""
    if protocol.actions == "recorded":
        return known
    past = known[: protocol.context_frames - 1]
    size = known.shape[-1]
    if protocol.actions == "directions":
        assert task.direction is not None
        return torch.cat([past, directions(size)[task.direction].expand(protocol.horizon, size)])
    return torch.cat([past, held_keys(protocol.horizon, size, np.random.default_rng([seed, task.clip, 0]))])


def _random(protocol: Protocol, task: FilmTask, actions: Tensor, seed: int) -> Tensor:
    past = actions[: protocol.context_frames - 1]
    rng = np.random.default_rng([seed, task.clip, 1])
    return torch.cat([past, random_keys(protocol.horizon, actions.shape[-1], rng)])


def _save_actions(actions: Tensor, path: Any) -> None:
    temporary = path.with_name(f".{path.stem}.part.npy")
    np.save(temporary, actions.numpy())
    temporary.replace(path)
