"""What the denoiser works on and is conditioned on besides actions: the autoencoder's latents."""

from world_model.conditioning.autoencoder import Autoencoder, AutoencoderConfig

__all__ = ["Autoencoder", "AutoencoderConfig"]
