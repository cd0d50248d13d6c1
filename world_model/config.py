"""The settings of a world model: everything but its weights."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

from world_model.action_prior import ActionPriorConfig
from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.conditioning.conditioner import ConditionerConfig
from world_model.diffusion.samplers import Spacing, overshoots
from world_model.diffusion.schedule import ScheduleConfig
from world_model.network.unet import UNetConfig
from world_model.reward_head import RewardHeadConfig
from world_model.state_probe import StateProbeConfig
from world_model.types import ActionSpec


@dataclass(frozen=True)
class SamplingConfig:
    """How one new frame is denoised.

    Attributes:
        num_sampling_steps: network passes per frame.
        guidance_scale: 1 is off; above 1 the newest action is stressed, at the price of one more frame per pass.
        guidance_rescale: 0..1, how far guidance keeps the prediction's standard deviation.
        eta: 0 is deterministic DDIM, 1 draws fresh noise in every step.
        temperature: scales the noise that a new frame is denoised from, and that which `eta` adds; 1 is the model's
            own, below it frames are likelier and blander, above it more varied.
        history_noise_level: level (0..999) at which past frames are shown to the network.
        spacing: ``trailing`` starts at pure noise, ``uniform`` below it.
        mode: ``reference`` samples as the published code does, for its weights and numbers: past frames are not
            rescaled before they are noised, at the second lowest level that the sampler visits; guidance is rescaled by
            deviations over the history too; the window's first frame gets a zero action that counts as known; the last
            step leaves a little noise. It needs a network with ``temporal_norm="clip"``. ``standard`` does none of it.
    """

    num_sampling_steps: int = 1
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    eta: float = 0.0
    temperature: float = 1.0
    history_noise_level: int = 0
    spacing: Spacing = "trailing"
    mode: Literal["standard", "reference"] = "standard"

    def __post_init__(self) -> None:
        if self.mode not in ("standard", "reference"):
            raise ValueError(f"mode: expected standard or reference, got {self.mode!r}")
        if self.mode == "reference" and self.num_sampling_steps < 2:
            raise ValueError(
                "num_sampling_steps: the reference mode needs at least 2, since history is noised at the second lowest "
                f"level; got {self.num_sampling_steps}; use more steps or mode='standard'"
            )
        if self.num_sampling_steps < 1:
            raise ValueError(f"num_sampling_steps: expected at least 1, got {self.num_sampling_steps}")
        if self.mode == "reference" and self.spacing == "trailing" and overshoots(steps := self.num_sampling_steps):
            fewer, more = (next(n for n in itertools.count(steps, by) if not overshoots(n)) for by in (-1, 1))
            raise ValueError(
                f"num_sampling_steps: with {steps} the published sampler divides by zero, so there is no reference to "
                f"follow; use {fewer} or {more}, or mode='standard'"
            )
        if not 0 <= self.history_noise_level < 1000:
            raise ValueError(f"history_noise_level: expected 0..999, got {self.history_noise_level}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature}")
        if self.mode == "reference" and self.temperature != 1:
            raise ValueError(
                "temperature: the reference mode samples as the published code does, so it takes only 1; got "
                f"{self.temperature}; use mode='standard'"
            )
        for name, upper in (("guidance_rescale", 1.0), ("eta", 1.0)):
            if not 0 <= getattr(self, name) <= upper:
                raise ValueError(f"{name}: expected 0..{upper:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything but the weights.

    Attributes:
        name: short name, used in reports.
        actions: the action space of the world.
        source_env: Gymnasium id of the simulator that was recorded, or another description of the data.
        frame_size: height and width of a frame in pixels.
        context_frames: recorded frames that a dream starts from by default.
        fps: frames per second of the recordings.
        frame_skip: simulator steps that each action is held for.
        action_block: actions of the simulator, one after the other, that make one action of this world.
        dtype: weight type to run in by default, ``float32`` or ``bfloat16``.
        conditioner: of models that also see tokens and the latent of the first frame (DynamiCrafter's); else ``None``.
        reward_head: of models that judge what they imagine, see :mod:`world_model.reward_head`; else ``None``.
        state_probe: of models that can read the simulator's state off a frame, see :mod:`world_model.state_probe`; else
            ``None``.
        action_prior: of models that can suggest actions to planners, see :mod:`world_model.action_prior`; else
            ``None``. It needs a state probe.
    """

    name: str
    actions: ActionSpec
    source_env: str = ""
    frame_size: tuple[int, int] = (64, 64)
    context_frames: int = 4
    fps: float = 10.0
    frame_skip: int = 1
    action_block: int = 1
    dtype: str = "bfloat16"
    network: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    conditioner: ConditionerConfig | None = None
    reward_head: RewardHeadConfig | None = None
    state_probe: StateProbeConfig | None = None
    action_prior: ActionPriorConfig | None = None

    def __post_init__(self) -> None:
        if self.action_prior is not None and self.state_probe is None:
            raise ValueError("action_prior: expected a state probe beside it, which reads the states that it looks at")
        if self.sampling.mode == "reference" and self.network.temporal_norm != "clip":
            raise ValueError(
                f"sampling.mode: reference needs temporal_norm='clip', got {self.network.temporal_norm!r}; use standard"
            )

    @property
    def window(self) -> int:
        """Frames the network sees at once, the newest included."""
        return self.network.window

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """``(c, h, w)`` of one latent frame."""
        f = self.autoencoder.downsample
        return (self.autoencoder.latent_channels, self.frame_size[0] // f, self.frame_size[1] // f)
