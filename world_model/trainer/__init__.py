"""Training with Lightning: an autoencoder, a world model on its latents (or the published layout as a whole), a reward
head that judges what it imagines, and a probe that reads the simulator's state off it."""

from world_model.trainer.autoencoder import AutoencoderLossConfig, AutoencoderTrainConfig, train_autoencoder
from world_model.trainer.crops import CropConfig
from world_model.trainer.probe import ProbeTrainConfig, train_probe
from world_model.trainer.published import PublishedTrainConfig, train_published
from world_model.trainer.reward import RewardTrainConfig, train_reward
from world_model.trainer.samples import SampleConfig
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.world_model import DistillationConfig, WorldTrainConfig, train_world_model

__all__ = [
    "AutoencoderLossConfig",
    "AutoencoderTrainConfig",
    "CropConfig",
    "DistillationConfig",
    "OptimizerConfig",
    "ProbeTrainConfig",
    "PublishedTrainConfig",
    "RewardTrainConfig",
    "RunConfig",
    "SampleConfig",
    "WorldTrainConfig",
    "train_autoencoder",
    "train_probe",
    "train_published",
    "train_reward",
    "train_world_model",
]
