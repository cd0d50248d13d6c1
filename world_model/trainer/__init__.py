"""Training with Lightning: the autoencoder first, then the world model on its latents."""

from world_model.trainer.autoencoder import AutoencoderLossConfig, AutoencoderTrainConfig, train_autoencoder
from world_model.trainer.crops import CropConfig
from world_model.trainer.samples import SampleConfig
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.world_model import WorldTrainConfig, train_world_model

__all__ = [
    "AutoencoderLossConfig",
    "AutoencoderTrainConfig",
    "CropConfig",
    "OptimizerConfig",
    "RunConfig",
    "SampleConfig",
    "WorldTrainConfig",
    "train_autoencoder",
    "train_world_model",
]
