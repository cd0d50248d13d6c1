"""What stepping costs without streaming: every denoising step passes the whole window through the network.

This is how published video world models are stepped. It is the yardstick for `WorldModel.step`, with which it agrees to
float32 rounding as long as the window has not slid.
"""

from __future__ import annotations

from copy import copy

from torch import Tensor

from world_model.model import SamplingConfig, WorldModel
from world_model.types import Generators


def step_by_recomputation(
    model: WorldModel, latents: Tensor, actions: Tensor, generator: Generators, sampling: SamplingConfig
) -> Tensor:
    """Imagine the frame after `latents`.

    Args:
        model: any world model.
        latents: [b t c h w], t >= 2 frames, all that there is of the episode; t + 1 must fit the window.
        actions: [b t a], the last one acts on the newest frame.
        generator: as for `WorldModel.init_state` followed by `WorldModel.step`, whose draws this repeats.
        sampling: how the new frame is denoised.

    Returns:
        The new frame [b c h w], a clean latent.
    """
    if latents.shape[1] + 1 > model.config.window:
        raise ValueError(f"latents: expected at most {model.config.window - 1} frames, got {latents.shape[1]}")
    recomputing = copy(model)
    recomputing.recomputes = True
    state = recomputing.init_state(latents, actions[:, :-1], generator, sampling)
    return recomputing.step(state, actions[:, -1], generator, sampling)[1]
