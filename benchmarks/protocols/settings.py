"""The settings of a run, shared by all protocols."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.perceptual.i3d import MIN_FRAMES
from benchmarks.protocols.table import Protocol
from benchmarks.report import QUICK_FOLDER
from benchmarks.scoring import PIXEL_METRICS

QUICK_FRAMES = 3
"""Imagined frames of each film of a quick run, which is to take less than a minute on two cores."""


@dataclass(frozen=True)
class ProtocolConfig:
    """Settings of a run; what is None follows from the protocol or the checkpoint.

    Attributes:
        checkpoint: a folder, a name on the hub, or that of a shipped model.
        dataset: folder of recordings (or of pictures).
        out: folder of films, scores and report; the same command goes on where it stopped.
        split: part of the dataset.
        validation_list: text file with the names of the validation episodes, such as the release's.
        starts: JSON object of first frames by episode name, in place of the protocol's own choice of clips.
        num_clips: only the first so many clips.
        actions: other actions than the protocol's: `recorded` where it holds keys, to have something to compare with.
        random_actions: imagine each clip under random keys too, for the normalised delta metrics (Table 4).
        num_sampling_steps, guidance_scale, dtype: in place of the checkpoint's.
        window: frames the network sees at once, in place of the protocol's.
        metrics: in place of the protocol's.
        metrics_on: `frames` as imagined, or the lossy `video` read back, as the release measures.
        metric_weights: folder of the measures' networks; None: $V2W_METRIC_WEIGHTS, or runs/metric_weights.
        frechet_resamples: draws for intervals of FID and FVD; 0: no intervals.
        seed: of the noise, of drawn actions and of the bootstrap.
        batch_size: films at once.
        patience_minutes: how long the first process waits for films of the others.
        quick: at most 2 clips, 2 denoising steps and short films, and no measures that need weights. On processors a
            model of the published size takes minutes even so: one pass of its network takes seconds.
    """

    checkpoint: str = ""
    dataset: str = ""
    out: str = ""
    split: Literal["train", "validation", "test", "all"] = "validation"
    validation_list: str | None = None
    starts: str | None = None
    num_clips: int | None = None
    actions: Literal["recorded"] | None = None
    random_actions: bool = False
    num_sampling_steps: int | None = None
    guidance_scale: float | None = None
    window: int | None = None
    metrics: tuple[str, ...] | None = None
    metrics_on: Literal["frames", "video"] = "frames"
    metric_weights: str | None = None
    frechet_resamples: int = 0
    seed: int = 0
    batch_size: int = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    patience_minutes: float = 60.0
    quick: bool = False


def settled(protocol: Protocol, config: ProtocolConfig) -> tuple[Protocol, ProtocolConfig]:
    """The protocol with the actions that are wanted, and the settings of a quick run where one is.

    Raises:
        ValueError: a setting is missing, out of range, or does not fit the protocol.
    """
    for name in ("batch_size", "patience_minutes"):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name}: expected more than 0, got {getattr(config, name)}")
    if config.frechet_resamples < 0:
        raise ValueError(f"frechet_resamples: expected 0 or more, got {config.frechet_resamples}")
    for name in ("checkpoint", "dataset", "out"):
        if not getattr(config, name):
            raise ValueError(f"{name}: expected a folder, got nothing")
    if config.actions is not None and not protocol.scored:
        raise ValueError(f"actions: {protocol.name} has nothing recorded to follow; leave actions out")
    if config.random_actions and protocol.name != "csgo":
        raise ValueError(f"random_actions: expected the protocol csgo, whose keys can be drawn, got {protocol.name}")
    if config.actions is not None:
        protocol = replace(protocol, actions=config.actions)
    if config.quick:
        metrics = config.metrics or PIXEL_METRICS
        protocol = _shortened(protocol, MIN_FRAMES if "fvd" in metrics else QUICK_FRAMES)
        config = replace(
            config,
            out=str(Path(QUICK_FOLDER) / protocol.name),
            num_clips=min(config.num_clips or 2, 2, protocol.clips),
            num_sampling_steps=min(config.num_sampling_steps or 2, 2),
            metrics=metrics,
        )
    return protocol, config


def _shortened(protocol: Protocol, horizon: int) -> Protocol:
    """At most so many imagined frames; of the compared ones those that are left, or the last."""
    horizon = min(horizon, protocol.horizon)
    length = protocol.context_frames + horizon

    def left(frames: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(frame for frame in frames if frame < length) or (length - 1,)

    return replace(
        protocol,
        horizon=horizon,
        scored=left(protocol.scored) if protocol.scored else (),
        film=None if protocol.film is None else left(protocol.film),
    )
