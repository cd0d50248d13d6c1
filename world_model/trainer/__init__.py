"""Training with Lightning: an autoencoder, a world model on its latents (or the published layout as a whole), and what
is added to it: a reward head that judges what it imagines, a probe that reads the simulator's state off it, and a prior
that suggests actions to planners."""

from world_model.trainer.action_prior import PriorTrainConfig, train_action_prior
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
    "PriorTrainConfig",
    "ProbeTrainConfig",
    "PublishedTrainConfig",
    "RewardTrainConfig",
    "RunConfig",
    "SampleConfig",
    "WorldTrainConfig",
    "train_action_prior",
    "train_autoencoder",
    "train_probe",
    "train_published",
    "train_reward",
    "train_world_model",
]
