"""A recorded dataset as latents: encoded once, kept on disk, cut into windows for training.

Latents in half precision take a sixth of the frames' space and would be computed again for every window that a frame
is in, so they are always cached. The cache's name holds a fingerprint of autoencoder and dataset: a stale one is never
read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from world_model.conditioning.autoencoder import Autoencoder
from world_model.data import RecordedDataset
from world_model.progress import progress_bar
from world_model.trainer.frames import to_float


class _LatentClip(TypedDict):
    latents: Tensor
    actions: Tensor


class LatentClip(_LatentClip, total=False):
    """latents float32 `[b t c h w]`; actions `[b t-1 a]`; where asked for, how unusual each place is, `[b t h w]`; of
    corrected dreams, the past that the network had, as the latents."""

    unusual: Tensor
    history: Tensor


@dataclass(frozen=True)
class EncodedEpisodes:
    """Episodes one after the other: latents float16 `[sum(T+1) c h w]`, actions `[sum(T) a]`, lengths T `[e]`, rewards
    float32 and terminations bool `[sum(T)]`, which old caches do not have; how unusual places are, float16
    `[sum(T+1) h w]`, where asked for; of corrected dreams, the dreamt latents, of which those of `latents` follow."""

    latents: Tensor
    actions: Tensor
    lengths: Tensor
    rewards: Tensor | None = None
    terminations: Tensor | None = None
    unusual: Tensor | None = None
    histories: Tensor | None = None


class LatentClips(Dataset[LatentClip]):
    """Every window of `window` frames of encoded episodes, in order; a list of indices gives a whole batch.

    Args:
        short: what to do with episodes of fewer than `window` frames.
        source: named in errors.

    Raises:
        ValueError: if an episode is too short (and `short="error"`), or if all are.
    """

    def __init__(
        self, episodes: EncodedEpisodes, window: int, short: Literal["error", "skip"] = "error", source: str = "dataset"
    ) -> None:
        if window < 2:
            raise ValueError(f"window: expected 2 frames or more, got {window}")
        lengths = episodes.lengths
        too_short = lengths + 1 < window
        if bool(too_short.all()) or (short == "error" and bool(too_short.any())):
            raise ValueError(
                f"{source}: expected episodes of {window} frames (the window) or more, got {int(too_short.sum())} of "
                f"{len(lengths)} shorter ones, the shortest of {int(lengths.min()) + 1}; use a smaller window, or "
                "short_episodes=skip if only some are"
            )
        self.episodes = episodes
        self.window = window
        first_frame = torch.cumsum(lengths + 1, 0) - (lengths + 1)
        starts = [
            torch.stack([torch.arange(n + 2 - window) + first, torch.full((n + 2 - window,), number)])
            for number, (n, first) in enumerate(zip(lengths.tolist(), first_frame.tolist(), strict=True))
            if n + 1 >= window
        ]
        # An episode has one action fewer than frames, so action numbers lag by the number of episodes before.
        self._frame_start, self._episode = torch.cat(starts, dim=1)

    def __len__(self) -> int:
        return len(self._frame_start)

    def __getitem__(self, index: int) -> LatentClip:
        clip = self.__getitems__([index])
        single = LatentClip(latents=clip["latents"][0], actions=clip["actions"][0])
        if "unusual" in clip:
            single["unusual"] = clip["unusual"][0]
        if "history" in clip:
            single["history"] = clip["history"][0]
        return single

    def __getitems__(self, indices: Sequence[int]) -> LatentClip:
        chosen = torch.as_tensor(indices)
        frames = self._frame_start[chosen, None] + torch.arange(self.window)
        actions = frames[:, :-1] - self._episode[chosen, None]
        clip = LatentClip(latents=self.episodes.latents[frames].float(), actions=self.episodes.actions[actions])
        if self.episodes.unusual is not None:
            clip["unusual"] = self.episodes.unusual[frames].float()
        if self.episodes.histories is not None:
            clip["history"] = self.episodes.histories[frames].float()
        return clip


def encoded(
    recorded: RecordedDataset,
    part: str,
    autoencoder: str | Path | Autoencoder,
    cache: str | Path | None,
    device: str | torch.device = "cpu",
    outcomes: bool = False,
) -> EncodedEpisodes:
    """Latents of one part of the split, from the cache folder or encoded now and put there.

    Args:
        autoencoder: its folder, or itself, which is left as it is.
        cache: None: encoded in any case, and not kept.
        outcomes: whether rewards and terminations are needed; then an old cache without them is written again.

    Raises:
        ValueError: if the part has no episodes, or dataset or autoencoder cannot be read.
    """
    ids = recorded.ids(part)
    if not ids:
        raise ValueError(f"{recorded.path}: the {part} split has no episodes; record more with `v2w collect`")
    own = deepcopy(autoencoder) if isinstance(autoencoder, Autoencoder) else Autoencoder.from_pretrained(autoencoder)
    path = None if cache is None else Path(cache) / f"{cache_name(recorded, part, own)}.safetensors"
    if path is not None and path.exists():
        try:
            episodes = EncodedEpisodes(**load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path}: not readable ({error}); delete it, it will be written again") from error
        if not outcomes or episodes.rewards is not None:
            return episodes
    own.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    latents, actions, lengths, rewards, terminations = [], [], [], [], []
    for episode in progress_bar(recorded.iterate(ids), f"encoding the {part} split", "episode", len(ids)):
        latents.append(encode_frames(own, torch.from_numpy(episode.frames)).half().cpu())
        actions.append(recorded.action_spec.to_tensor(episode.actions))
        lengths.append(len(episode))
        rewards.append(torch.from_numpy(episode.rewards))
        terminations.append(torch.from_numpy(episode.terminations))
    together = torch.cat(latents).contiguous()  # channels last until here
    tensors = {"latents": together, "actions": torch.cat(actions), "lengths": torch.tensor(lengths)}
    tensors |= {"rewards": torch.cat(rewards), "terminations": torch.cat(terminations)}
    if path is None:
        return EncodedEpisodes(**tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary)
    os.replace(temporary, path)
    return EncodedEpisodes(**tensors)


@torch.inference_mode()
def encode_frames(autoencoder: Autoencoder, frames: Tensor, batch: int = 64) -> Tensor:
    """Latents float32 `[n c h w]` of frames uint8 `[n h w 3]`."""
    weights = next(autoencoder.parameters())
    return torch.cat([autoencoder.encode(to_float(part).to(weights)) for part in frames.split(batch)]).float()


def cache_name(recorded: RecordedDataset, part: str, autoencoder: Autoencoder) -> str:
    """Of files that hold something of this part of the dataset, seen with this autoencoder."""
    digest = _of_weights(autoencoder)
    digest.update(np.asarray(recorded.ids(part), dtype=np.int64).tobytes())
    digest.update(recorded.fingerprint.encode())
    digest.update(str(recorded.path.resolve().name).encode())
    return f"{part}-{digest.hexdigest()[:16]}"


def weights_digest(module: nn.Module) -> str:
    """Differs when the weights do."""
    return _of_weights(module).hexdigest()[:16]


def _of_weights(module: nn.Module) -> hashlib._Hash:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest
