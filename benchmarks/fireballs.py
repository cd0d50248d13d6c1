"""Does the Take Cover dream hold as many fireballs as the game? Small things that decide, counted.

    python -m benchmarks.fireballs [checkpoint=FOLDER num_sampling_steps=[3,8] ...]

Clips of recorded episodes are dreamt again under the recorded actions, and pixels of the colour of fire are counted in
both. One step ahead of recorded frames: how many of the fireballs that stay in the recording stay in the dream, and how
often does one appear? Averages over whole frames (PSNR, the loss) hardly notice either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model, open_fitting
from benchmarks.report import Table, Target, number
from v2w_env.frames import to_model, to_pixels
from world_model.config import SamplingConfig
from world_model.data import RecordedDataset
from world_model.model import WorldModel
from world_model.progress import progress_bar

NEAR = 40  # pixels of fire, of 64 x 64, from which on a fireball is about to hit


@dataclass(frozen=True)
class FireballsConfig:
    """Settings of the count.

    Attributes:
        checkpoint: a folder, or the name of a model shipped with the package.
        dataset: folder of recorded Take Cover episodes.
        split: of the recording.
        num_sampling_steps: one row of the report for each; none: the model's own.
        temperature: null: the model's own.
        clips: dreamt; as many windows are looked at one step ahead.
        horizon: frames of each dream.
    """

    checkpoint: str = "doom_take_cover"
    dataset: str = "runs/data/doom_take_cover"
    split: Literal["train", "validation", "test"] = "test"
    num_sampling_steps: tuple[int, ...] = ()
    temperature: float | None = None
    clips: int = 64
    horizon: int = 40
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    results: str = report.RESULTS_FOLDER
    quick: bool = False


@dataclass(frozen=True)
class Clips:
    """Recorded frames uint8 `[n t h w 3]`, and the actions `[n t-1 a]` between them, as the model takes them."""

    frames: NDArray[np.uint8]
    actions: Tensor

    @classmethod
    def drawn(cls, recorded: RecordedDataset, split: str, number: int, length: int, seed: int) -> Clips:
        """From all long enough episodes in turn, at random places.

        Raises:
            ValueError: if no episode is long enough.
        """
        rng = np.random.default_rng(seed)
        episodes = [episode for episode in recorded.iterate(recorded.ids(split)) if len(episode) >= length]
        if not episodes:
            raise ValueError(f"dataset: expected {split} episodes of at least {length} steps, found none")
        frames, actions = [], []
        for clip in range(number):
            episode = episodes[clip % len(episodes)]
            first = int(rng.integers(len(episode) - length + 1))
            frames.append(episode.frames[first : first + length])
            actions.append(recorded.action_spec.to_tensor(episode.actions[first : first + length - 1]))
        return cls(np.stack(frames), torch.stack(actions))


def main(config: FireballsConfig) -> dict[str, Any]:
    """Count, and write the report. Returns its measures, those of the first row.

    Raises:
        ValueError: an unusable setting, or a dataset whose episodes are too short or do not fit the model.
        FileNotFoundError: no such checkpoint or dataset.
    """
    for name in ("clips", "horizon"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    model = load_model(config.checkpoint, config.device, config.dtype)
    recorded = open_fitting(config.dataset, model, config.checkpoint)
    number_of, horizon = (
        (min(config.clips, 4), min(config.horizon, 4)) if config.quick else (config.clips, config.horizon)
    )
    context = model.config.network.window
    clips = Clips.drawn(recorded, config.split, number_of, context + horizon, config.seed)
    rows = {}
    for steps in config.num_sampling_steps or (model.config.sampling.num_sampling_steps,):
        sampling = model.with_sampling(num_sampling_steps=steps, temperature=config.temperature)
        rows[steps] = fire_measures(model, clips, context, sampling, config.seed)
    measures = next(iter(rows.values()))
    results = report.QUICK_FOLDER if config.quick else config.results
    targets = (
        Target("fire_ratio", "at_least", 0.9, "frames with fire, dream over game"),
        Target("kept", "at_least", 0.95, "fireballs that stay, of those that do in the game"),
    )
    tables = [report.target_table(measures, targets), _table(rows)]
    notes = (
        f"{number_of} clips of the {config.split} split, {context} recorded frames and then {horizon} dreamt ones; one "
        f"step ahead at every frame of them. Near: at least {NEAR} pixels of fire."
    )
    report.write(
        "fireballs", config, measures, tables, folder=results, notes=notes,
        recorded={"rows": {str(steps): row for steps, row in rows.items()}},
    )  # fmt: skip
    return measures


def fire_pixels(frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels `[...]` of the colour of fire in frames uint8 `[... h w 3]`: bright red with much green, or yellow."""
    red, green, blue = (frames[..., channel].astype(np.int64) for channel in range(3))
    glow = (red > 190) & (green > 140) & (blue < 210)
    core = (red > 220) & (green > 200)
    return (glow | core).sum((-2, -1))


@torch.inference_mode()
def fire_measures(
    model: WorldModel, clips: Clips, context: int, sampling: SamplingConfig, seed: int, batch: int = 32
) -> dict[str, float]:
    """Shares of frames with fire in dreams and recordings, and what becomes of fireballs one step ahead.

    Returns:
        `fire`, `near` (shares of dreamt frames), `real_fire`, `real_near`, `fire_ratio` and `near_ratio` (dream over
        recording), and one step ahead `kept` (share of frames with fire, of those with fire before and after in the
        recording), `born` and `real_born` (share of frames with fire, of those without it before).
    """
    dreamt, ahead = [], []
    parts = torch.arange(len(clips.frames)).split(batch)
    for rows in progress_bar(parts, f"dreaming in {sampling.num_sampling_steps} steps", "batch", len(parts)):
        pixels = to_model(clips.frames[rows.numpy()], model.device)
        actions = clips.actions[rows].to(model.device)
        generators = [torch.Generator().manual_seed(seed + int(row)) for row in rows]
        latents = model.encode(pixels)
        first = state = model.init_state(latents[:, :context], actions[:, : context - 1], generators, sampling)
        one = []
        for newest in range(context - 1, pixels.shape[1] - 1):
            state, latent = model.step(state, actions[:, newest], generators, sampling)
            state = replace(state, latent=latents[:, newest + 1])  # what came in the recording, not in the dream
            one.append(latent)
        _, free = model.rollout(first, actions[:, context - 1 :], generators, sampling)
        dreamt.append(_counted(model, free))
        ahead.append(_counted(model, torch.stack(one, 1)))
    return _measures(fire_pixels(clips.frames)[:, context - 1 :], np.concatenate(dreamt), np.concatenate(ahead))


def _counted(model: WorldModel, latents: Tensor) -> NDArray[np.int64]:
    """Pixels of fire `[b t]` in latents `[b t c h w]`."""
    return np.stack([fire_pixels(to_pixels(model.decode(clip[None])[0])) for clip in latents])


def _measures(real: NDArray[np.int64], dreamt: NDArray[np.int64], ahead: NDArray[np.int64]) -> dict[str, float]:
    """Of pixel counts `[n t+1]` in the recording, the first in its last seen frame, and `[n t]` in both others."""
    before, after = real[:, :-1] > 0, real[:, 1:] > 0
    shares = {
        "fire": float((dreamt > 0).mean()),
        "near": float((dreamt >= NEAR).mean()),
        "real_fire": float(after.mean()),
        "real_near": float((real[:, 1:] >= NEAR).mean()),
        "kept": _share(ahead > 0, before & after),
        "born": _share(ahead > 0, ~before),
        "real_born": _share(after, ~before),
    }
    for name in ("fire", "near"):
        real_share = shares[f"real_{name}"]
        shares[f"{name}_ratio"] = shares[name] / real_share if real_share else float("nan")
    return shares


def _share(of: NDArray[np.bool_], where: NDArray[np.bool_]) -> float:
    return float(of[where].mean()) if where.any() else float("nan")


def _table(rows: dict[int, dict[str, float]]) -> Table:
    header = ["sampling steps", "fire", "near fire", "one step ahead: kept", "born"]
    names = ("fire", "near", "kept", "born")
    first = next(iter(rows.values()))
    real = ["the game", number(first["real_fire"]), number(first["real_near"]), "1", number(first["real_born"])]
    cells: Sequence[list[str]] = [[str(steps), *(number(row[name]) for name in names)] for steps, row in rows.items()]
    return Table("Shares of frames", header, [real, *cells])


if __name__ == "__main__":
    run("fireballs", FireballsConfig, main)
