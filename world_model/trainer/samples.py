"""Videos of the model dreaming beside the recording, and the error at a few horizons, while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from einops import rearrange, repeat
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor

from world_model.data import RecordedDataset
from world_model.model import WorldModel
from world_model.trainer.autoencoder import psnr


@dataclass(frozen=True)
class SampleConfig:
    """Attributes:
    every: steps between samples, a multiple of the run's `validate_every`; 0 is off.
    clips: validation clips to dream from, spread over the split.
    horizon: frames to imagine after the context.
    show: how many of the clips go into the video.
    """

    every: int = 2000
    clips: int = 16
    horizon: int = 30
    show: int = 6


class Samples(Callback):
    """Writes `samples/step_N.mp4` (above the recording, below the dream) and logs `validation/psnr_H`.

    Must stand before the weight average in the list of callbacks: then the averaged weights are in place when it runs.
    """

    def __init__(self, world: WorldModel, recorded: RecordedDataset, config: SampleConfig, folder: Path) -> None:
        self.world = world
        self.config = config
        self.folder = folder
        self.frames, self.actions = validation_clips(
            recorded, config.clips, world.config.context_frames + config.horizon, short="skip"
        )
        self.fps = recorded.fps

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.config.every or trainer.global_step % self.config.every or not len(self.frames):
            return
        # On every device, since each may hold only a part of the weights.
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            imagined = imagine(self.world, self.frames, self.actions, seed=0)
        context = self.world.config.context_frames
        score = rearrange(
            psnr(_flat(imagined), _flat(self.frames[:, context:])), "(n t) -> n t", n=len(self.frames)
        ).mean(dim=0)
        for horizon in (1, 10, self.config.horizon):
            if horizon <= len(score):
                pl_module.log(f"validation/psnr_{horizon}", score[horizon - 1], rank_zero_only=True)
        dream = torch.cat([self.frames[:, :context], imagined], dim=1)
        if trainer.is_global_zero:
            path = self.folder / f"step_{trainer.global_step:07d}"
            write_comparison(path, self.frames, dream, self.config.show, self.fps)


def validation_clips(recorded: RecordedDataset, clips: int, length: int, short: str = "error") -> tuple[Tensor, Tensor]:
    """`clips` clips of `length` frames from different places of the validation split.

    Returns:
        frames uint8 `[n t h w 3]` and actions `[n t-1 a]`; n is 0 if `short` is "skip" and every episode is too short.

    Raises:
        ValueError: if no episode is long enough and `short` is "error".
    """
    lengths = {index: recorded.num_frames(index) for index in recorded.ids("validation")}
    long_enough = [index for index, frames in lengths.items() if frames >= length]
    if not long_enough:
        if short == "skip":
            return torch.empty(0, length, 0, 0, 3, dtype=torch.uint8), torch.empty(0, length - 1, 0)
        raise ValueError(
            f"{recorded.path}: expected validation episodes of at least {length} frames, found none; record longer ones"
        )
    frames, actions = [], []
    for number in range(clips):
        # Rounds through the episodes, each later round starting at another place of the episode.
        index = long_enough[number % len(long_enough)]
        rounds = number // len(long_enough)
        start = (number * 37 + rounds * 101) % (lengths[index] - length + 1)
        episode = recorded.read(index, start, start + length)
        frames.append(torch.from_numpy(episode.frames.copy()))
        actions.append(recorded.action_spec.to_tensor(episode.actions))
    return torch.stack(frames), torch.stack(actions)


def imagine(world: WorldModel, frames: Tensor, actions: Tensor, seed: int) -> Tensor:
    """What follows the context under the recorded actions.

    Args:
        frames: uint8 `[n t h w 3]`, of which only the context is looked at.
        actions: `[n t-1 a]`.

    Returns:
        uint8 `[n t-context h w 3]`.
    """
    context, device = world.config.context_frames, world.device
    known = rearrange(frames[:, :context].to(device), "n t h w c -> n t c h w").float() / 127.5 - 1
    generator = torch.Generator().manual_seed(seed)
    actions = actions.to(device)
    state = world.start(known, actions[:, : context - 1], generator)
    _, dreamed = world.rollout(state, actions[:, context - 1 :], generator)
    pictures = torch.cat([world.decode(latent[:, None]) for latent in dreamed.unbind(1)], dim=1)
    return rearrange(((pictures.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu(), "n t c h w -> n t h w c")


def write_comparison(path: Path, recording: Tensor, dream: Tensor, show: int, fps: float) -> Path:
    """A video, or where none can be written a picture of every fifth frame, of uint8 clips `[n t h w 3]`.

    Returns:
        the file: `path` with `.mp4` or `.png`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = torch.cat([recording[:show], dream[:show]], dim=2)
    pictures = repeat(pairs, "n t h w c -> t (h i) (n w j) c", i=3, j=3).numpy()
    try:
        from moviepy import ImageSequenceClip

        target = path.with_suffix(".mp4")
        clip = ImageSequenceClip([_even(picture) for picture in pictures], fps=fps)
        clip.write_videofile(str(target), codec="libx264", audio=False, logger=None)
        return target
    except (ImportError, OSError):  # no moviepy, or no ffmpeg: training must not stop for want of a video
        target = path.with_suffix(".png")
        Image.fromarray(np.concatenate(list(pictures[::5]), axis=0)).save(target)
        return target


def _even(picture: np.ndarray) -> np.ndarray:
    """H.264 wants even sides."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _flat(frames: Tensor) -> Tensor:
    return rearrange(frames, "n t h w c -> (n t) c h w").float() / 127.5 - 1
