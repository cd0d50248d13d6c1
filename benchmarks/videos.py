"""Score any folder of recorded and imagined films, in either layout of the paper's release.

python -m benchmarks.videos folder=FOLDER [protocol=csgo metrics=[psnr, ssim, lpips] ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command_line import run
from benchmarks.film_files import FilmPair, find_pairs, read_pair
from benchmarks.perceptual.backbones import Net
from benchmarks.perceptual.weights import weights_folder
from benchmarks.protocols import report
from benchmarks.protocols.table import PROTOCOLS
from benchmarks.report import QUICK_FOLDER, RESULTS_FOLDER, Table, number
from benchmarks.scoring import PIXEL_METRICS, Scorer, Scores, View
from benchmarks.summary import Uncertainty, summarise
from world_model.progress import progress_bar


@dataclass(frozen=True)
class VideosConfig:
    """Settings of the scoring.

    Attributes:
        folder: of the films, see `find_pairs`.
        protocol: looks at the frames, crop and size that this protocol does, with its LPIPS; None: at everything.
        crop: height and width of the centre that is kept, in place of the protocol's.
        size: height and width that it is resized to, in place of the protocol's.
        skip: frames left out at the beginning, where there is no protocol.
        metrics: fvd, fid, lpips and dreamsim need weights.
        lpips_net: backbone of LPIPS, in place of the protocol's (or VGG).
    """

    folder: str = "runs/eval/rt1_ar/videos"
    protocol: str | None = None
    crop: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    skip: int = 0
    metrics: tuple[str, ...] = ("psnr", "ssim", "mse")
    lpips_net: Net | None = None
    metric_weights: str | None = None
    frechet_resamples: int = 0
    seed: int = 0
    device: str = "cpu"
    results: str = RESULTS_FOLDER
    quick: bool = False


def main(config: VideosConfig) -> dict[str, Any]:
    """Score all pairs and write videos.json and videos.md.

    Returns:
        The measures: flat, with plain keys.

    Raises:
        FileNotFoundError: no such folder, or weights of measures are missing.
        ValueError: no films, a film without partner, damaged, or unlike its partner in length or size.
    """
    if config.protocol is not None and not getattr(PROTOCOLS.get(config.protocol), "scored", ()):
        known = [name for name, protocol in PROTOCOLS.items() if protocol.scored]
        raise ValueError(f"protocol: expected one of {', '.join(known)}, got {config.protocol!r}")
    pairs = find_pairs(config.folder)
    metrics = PIXEL_METRICS if config.quick else config.metrics
    net = config.lpips_net or (PROTOCOLS[config.protocol].lpips_net if config.protocol else "vgg")
    scorer = Scorer(metrics, net, weights_folder(config.metric_weights), config.device)
    chosen = pairs[:2] if config.quick else pairs
    films = [_score(scorer, pair, config) for pair in progress_bar(chosen, "scoring", "film")]
    for pair, film in zip(pairs, films, strict=False):
        if len(film.frames) != len(films[0].frames):
            raise ValueError(
                f"{pair.name}: expected films of one length, got {len(film.frames)} frames to compare where "
                f"{pairs[0].name} has {len(films[0].frames)}; keep them in folders of their own, or name a protocol"
            )
    summary = summarise(films, Uncertainty(config.seed, config.frechet_resamples))
    name = config.protocol or ""
    rows = [
        [pair.name, *(number(float(curve.mean())) for curve in film.curves.values())]
        for pair, film in zip(pairs, films, strict=False)
    ]
    each = Table("Each film", ["film", *films[0].curves], rows)
    report.write_report(
        "videos",
        config,
        summary.measures,
        [*report.tables(name, summary, summary.measures), each],
        folder=Path(QUICK_FOLDER if config.quick else config.results),
        notes=_notes(config, net),
        details={
            "frames": summary.frames,
            "curves": summary.curves,
            "films": {pair.name: film.curves for pair, film in zip(pairs, films, strict=False)},
            "quoted": report.quoted(name),
        },
    )
    return summary.measures


def _score(scorer: Scorer, pair: FilmPair, config: VideosConfig) -> Scores:
    imagined, recorded = read_pair(pair)
    if config.protocol is not None:
        view = PROTOCOLS[config.protocol].view((imagined.shape[1], imagined.shape[2]))
    else:
        view = View(frames=tuple(range(config.skip, len(imagined))))
    view = View(config.crop or view.crop, config.size or view.size, view.frames, view.film)
    try:
        return scorer(imagined, recorded, view)
    except ValueError as error:
        raise ValueError(f"{pair.name}: {error}") from error


def _notes(config: VideosConfig, net: str) -> str:
    looked_at: Sequence[str] = [
        f"the frames, crop and size of the protocol {config.protocol}" if config.protocol else "all frames as they are",
        *([f"without the first {config.skip}"] * bool(config.skip and not config.protocol)),
        *([f"cropped to {config.crop}"] * bool(config.crop)),
        *([f"resized to {config.size}"] * bool(config.size)),
    ]
    return (
        f"Looked at: {', '.join(looked_at)}. Means over films of means over frames, with 95 % bootstrap intervals over "
        f"films; frames are counted from 1. LPIPS with {net}. MSE for black 0 and white 1."
    )


if __name__ == "__main__":
    run("videos", VideosConfig, main)
