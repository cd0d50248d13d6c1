"""Scoring imagined films against recorded ones: what is looked at, with which measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.metrics import mse, psnr, ssim
from benchmarks.perceptual.backbones import Net
from benchmarks.perceptual.dreamsim import load_dreamsim
from benchmarks.perceptual.i3d import load_i3d
from benchmarks.perceptual.inception import load_inception
from benchmarks.perceptual.lpips import load_lpips
from benchmarks.perceptual.resizing import resize
from benchmarks.perceptual.weights import check_files

Metric = Literal["fvd", "fid", "ssim", "lpips", "psnr", "dreamsim", "mse"]
METRICS: tuple[Metric, ...] = ("fvd", "fid", "ssim", "lpips", "psnr", "dreamsim", "mse")
PIXEL_METRICS: tuple[Metric, ...] = ("ssim", "psnr", "mse")  # the ones that need no weights
_AT_ONCE = 8  # images through a network; bounds the memory


@dataclass(frozen=True)
class View:
    """The part of a film that is measured, and at what size.

    Attributes:
        crop: height and width of the centre that is kept, or None for all.
        size: height and width it is then resized to (bilinear), or None.
        frames: which frames single images are compared at; None for all.
        film: which frames make the film that FVD looks at; None for the same.
    """

    crop: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    frames: tuple[int, ...] | None = None
    film: tuple[int, ...] | None = None

    def __call__(self, frames: NDArray[np.uint8]) -> Tensor:
        """uint8 [t h w 3] to float32 [t 3 h' w'] in [0, 1]; all frames.

        Raises:
            ValueError: the frames are smaller than the crop.
        """
        height, width = frames.shape[1:3]
        rows, columns = self.crop or (height, width)
        if rows > height or columns > width:
            raise ValueError(f"crop: expected frames of at least {rows}x{columns}, got {height}x{width}")
        top, left = (height - rows) // 2, (width - columns) // 2
        kept = torch.from_numpy(np.ascontiguousarray(frames[:, top : top + rows, left : left + columns]))
        images = kept.movedim(-1, 1).float() / 255
        return images if self.size is None else resize(images, *self.size).clamp(0, 1)

    def image_frames(self, length: int) -> tuple[int, ...]:
        """Indices of the frames compared as images, in a film of `length` frames.

        Raises:
            ValueError: the film is too short.
        """
        return _within(self.frames, length)

    def film_frames(self, length: int) -> tuple[int, ...]:
        """Indices of the frames that FVD looks at."""
        return _within(self.film if self.film is not None else self.frames, length)


@dataclass(frozen=True)
class Scores:
    """What one imagined film scored.

    Attributes:
        frames: indices of the frames compared.
        curves: under each measure of single images its values at these frames, float64 [n].
        features: under fid_imagined, fid_recorded, fvd_imagined and fvd_recorded, float32 [n d] (FVD's n is 1).
    """

    frames: tuple[int, ...]
    curves: dict[str, NDArray[np.float64]]
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class Scorer:
    """Measures with their networks loaded.

    Args:
        metrics: which.
        lpips_net: backbone of LPIPS.
        weights: folder of the networks' weights.
        device: of the networks.

    Raises:
        ValueError: an unknown measure.
        FileNotFoundError: weights are missing; names the files and where they come from.
    """

    def __init__(
        self, metrics: Sequence[str], lpips_net: Net, weights: Path, device: torch.device | str = "cpu"
    ) -> None:
        check_metrics(metrics, lpips_net, weights)
        self.metrics, self.device = tuple(metrics), device
        loaders: dict[str, Callable[[], Any]] = {
            "lpips": lambda: load_lpips(lpips_net, weights, device),
            "dreamsim": lambda: load_dreamsim(weights, device),
            "fid": lambda: load_inception(weights, device),
            "fvd": lambda: load_i3d(weights, device),
        }
        self.networks = {name: load() for name, load in loaders.items() if name in metrics}

    @torch.inference_mode()
    def __call__(self, imagined: NDArray[np.uint8], recorded: NDArray[np.uint8], view: View) -> Scores:
        """Score frames uint8 [t h w 3] against recorded ones of the same shape."""
        seen = [view(frames) for frames in (imagined, recorded)]
        chosen = view.image_frames(len(imagined))
        images = [frames[list(chosen)] for frames in seen]
        ours, theirs = (frames.movedim(1, -1).double().numpy() for frames in images)
        curves: dict[str, NDArray[np.float64]] = {}
        if "mse" in self.metrics:
            curves["mse"] = mse(ours, theirs)
        if "psnr" in self.metrics:
            curves["psnr"] = psnr(ours, theirs)
        if "ssim" in self.metrics:
            curves["ssim"] = ssim(ours, theirs, border="valid")
        for name in ("lpips", "dreamsim"):
            if name in self.metrics:
                curves[name] = self._in_parts(self.networks[name], *images).astype(np.float64)
        features = {}
        for kind, index in (("imagined", 0), ("recorded", 1)):
            if "fid" in self.metrics:
                features[f"fid_{kind}"] = self._in_parts(self.networks["fid"], images[index])
            if "fvd" in self.metrics:
                film = seen[index][list(view.film_frames(len(imagined)))]
                features[f"fvd_{kind}"] = self.networks["fvd"](film)[None].cpu().numpy()
        return Scores(chosen, curves, features)

    def _in_parts(self, network: Callable[..., Tensor], *images: Tensor) -> NDArray[np.float32]:
        parts = zip(*(batch.split(_AT_ONCE) for batch in images), strict=True)
        return torch.cat([network(*(part.to(self.device) for part in both)).cpu() for both in parts]).numpy()


def check_metrics(metrics: Sequence[str], lpips_net: Net, weights: Path) -> None:
    """Whether all measures are known and their weights there; cheap.

    Raises:
        ValueError: none, or an unknown measure.
        FileNotFoundError: weights are missing; names the files and where they come from.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics: expected one or more of {', '.join(METRICS)}, got {list(metrics)}")
    files = {"lpips": f"lpips_{lpips_net}", "fid": "fid", "fvd": "fvd", "dreamsim": "dreamsim"}
    check_files([files[name] for name in metrics if name in files], weights)


def _within(frames: tuple[int, ...] | None, length: int) -> tuple[int, ...]:
    chosen = tuple(range(length)) if frames is None else frames
    if not chosen or max(chosen) >= length:
        last = max(chosen, default=0) + 1
        raise ValueError(f"frames: expected films of at least {last} frames, got {length}")
    return chosen
