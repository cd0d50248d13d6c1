"""Episodes, windows over them, and one reader per dataset format."""

from world_model.data.episode import Episode
from world_model.data.minari_dataset import RecordedDataset, action_spec, read_minari
from world_model.data.split import SPLITS, recorded_split, split_episodes
from world_model.data.windows import ClipDataset

__all__ = [
    "SPLITS",
    "ClipDataset",
    "Episode",
    "RecordedDataset",
    "action_spec",
    "read_minari",
    "recorded_split",
    "split_episodes",
]
