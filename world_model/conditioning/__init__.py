"""What the denoiser works on and is conditioned on besides actions: latents, and tokens of caption and image."""

from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig
from world_model.conditioning.conditioner import Conditioner, ConditionerConfig

__all__ = ["Autoencoder", "AutoencoderConfig", "Conditioner", "ConditionerConfig"]
