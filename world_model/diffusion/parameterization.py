"""v-prediction (Salimans and Ho 2022). ``signal`` is alphas_cumprod, broadcast to the latents."""

from __future__ import annotations

from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def v_target(clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    return signal.sqrt() * noise - (1 - signal).sqrt() * clean


def clean_from_v(noisy: Tensor, v: Tensor, signal: Tensor) -> Tensor:
    return signal.sqrt() * noisy - (1 - signal).sqrt() * v


def noise_from_v(noisy: Tensor, v: Tensor, signal: Tensor) -> Tensor:
    return signal.sqrt() * v + (1 - signal).sqrt() * noisy


def v_of_clean(noisy: Tensor, clean: Tensor, signal: Tensor) -> Tensor:
    """The v that stands for these clean latents in noisy ones; ``signal`` below 1."""
    return (signal.sqrt() * noisy - clean) / (1 - signal).sqrt()


def frame_error(error: Tensor, weights: Tensor | None) -> Tensor:
    """Mean square ``[b t]`` of an error of v ``[b t c h w]``, places weighted by ``[b t 1 h w]``."""
    square = error.square()
    return (square if weights is None else weights * square).mean((2, 3, 4))
