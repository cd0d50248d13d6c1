"""Dreams with what would truly have come next: a network learns from them how to carry on from its own mistakes.

Elsewhere the past is made of the network's predictions but the target stays the recorded frame, however far the dream
has gone astray by then. Where a simulator can be put where the dream is, the target can follow from the dream instead
(DAgger, Ross et al. 2011): see `v2w correct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.utils.data import Dataset

from world_model.conditioning.autoencoder import Autoencoder
from world_model.trainer.latents import EncodedEpisodes, LatentClip, LatentClips, weights_digest

FILE = "corrections.safetensors"


def load_corrections(folder: str | Path, autoencoder: str | Path) -> EncodedEpisodes:
    """The corrections in a folder of `v2w correct`.

    Raises:
        ValueError: if there are none, they cannot be read, or their latents are another autoencoder's.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ValueError(f"corrections: {path} does not exist; record it with `v2w correct`")
    try:
        with safe_open(path, "pt") as file:
            made_with = (file.metadata() or {}).get("autoencoder")
        episodes = EncodedEpisodes(**load_file(path))
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{path}: not readable ({error}); record it again with `v2w correct`") from error
    if made_with != weights_digest(Autoencoder.from_pretrained(autoencoder)):
        raise ValueError(f"corrections: {folder} was recorded with another autoencoder than {autoencoder}")
    if episodes.histories is None:
        raise ValueError(f"{path}: holds no dreams; record it again with `v2w correct`")
    return episodes


class CorrectedClips(Dataset[LatentClip]):
    """Clips of dreams, and recorded ones among them, whose past is what was recorded.

    Args:
        corrections: clips with a history.
        recorded: clips without.
        share: of the clips, that are corrections.
    """

    def __init__(self, corrections: LatentClips, recorded: LatentClips, share: float) -> None:
        self.corrections, self.recorded = corrections, recorded
        self._others = min(len(recorded), round(len(corrections) * (1 - share) / share))

    def __len__(self) -> int:
        return len(self.corrections) + self._others

    def __getitem__(self, index: int) -> LatentClip:
        clip = self.__getitems__([index])
        return LatentClip(latents=clip["latents"][0], actions=clip["actions"][0], history=clip["history"][0])

    def __getitems__(self, indices: Sequence[int]) -> LatentClip:
        parts = []
        first = len(self.corrections)
        dreams = [index for index in indices if index < first]
        others = [(index - first) * len(self.recorded) // self._others for index in indices if index >= first]
        if dreams:
            parts.append(self.corrections.__getitems__(dreams))
        if others:
            clip = self.recorded.__getitems__(others)
            parts.append(LatentClip(latents=clip["latents"], actions=clip["actions"], history=clip["latents"]))
        return LatentClip(
            latents=torch.cat([part["latents"] for part in parts]),
            actions=torch.cat([part["actions"] for part in parts]),
            history=torch.cat([part["history"] for part in parts]),
        )
