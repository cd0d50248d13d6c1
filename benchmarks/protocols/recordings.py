"""The recordings of a protocol, as its model takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.protocols.images import open_pictures
from benchmarks.protocols.table import Protocol
from world_model.config import WorldModelConfig
from world_model.data.csgo import PUBLISHED as GAME_LETTERBOX
from world_model.data.opening import DatasetConfig, detect_format, open_dataset
from world_model.data.recorded import RecordedDataset
from world_model.data.transforms import Letterbox


def open_recordings(
    path: str, protocol: Protocol, model: WorldModelConfig, checkpoint: str, validation_list: str | None = None
) -> RecordedDataset:
    """Frames of the model's size, with the paper's crop and bars where both it and the recordings are the protocol's.

    Args:
        path: folder of recordings, or of pictures.
        checkpoint: where the model is from, for errors.
        validation_list: text file with the names of the validation episodes.

    Raises:
        ValueError: unusable recordings, or with other actions than the model's.
    """
    height, width = model.frame_size
    published = (height, width) == protocol.frame_size
    if protocol.dataset == "images":
        letterbox = GAME_LETTERBOX if published else Letterbox(height, width)
        dataset = open_pictures(path, protocol.context_frames, letterbox)
    else:
        size: Any = (height, width)
        if published and detect_format(Path(path)) == protocol.dataset:
            size = "published"
        dataset = open_dataset(DatasetConfig(path, frame_size=size, validation_list=validation_list))
    if dataset.action_spec.size != model.actions.size:
        raise ValueError(
            f"dataset: its actions have {dataset.action_spec.size} numbers, the model takes {model.actions.size}; "
            f"{path} and {checkpoint} do not belong together"
        )
    return dataset
