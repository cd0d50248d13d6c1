"""Episodes, windows over them, and one reader per dataset format."""

from world_model.data.augmentation import Augmentation
from world_model.data.episode import Episode
from world_model.data.lazy import LazyEpisodes
from world_model.data.minari_dataset import action_spec, read_minari
from world_model.data.opening import DatasetConfig, detect_format, open_dataset
from world_model.data.recorded import EpisodeReader, RecordedDataset
from world_model.data.split import SPLITS, recorded_split, split_episodes
from world_model.data.transforms import Box, Letterbox
from world_model.data.windows import ClipDataset

__all__ = [
    "Augmentation",
    "Box",
    "ClipDataset",
    "DatasetConfig",
    "Episode",
    "EpisodeReader",
    "LazyEpisodes",
    "Letterbox",
    "RecordedDataset",
    "SPLITS",
    "action_spec",
    "detect_format",
    "open_dataset",
    "read_minari",
    "recorded_split",
    "split_episodes",
]
