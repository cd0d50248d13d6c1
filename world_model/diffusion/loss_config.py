"""What a training step asks of the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from world_model.diffusion.noise_levels import LevelConfig


@dataclass(frozen=True)
class LossConfig:
    """What a training step asks of the network.

    Attributes:
        objective: ``diffusion_forcing`` noises every frame of a clip by its own level and predicts all of them
            (Vid2World, section 4.2). ``teacher_forcing`` gives every noisy frame the clean past it will have when
            streamed: clean and noisy copies run side by side, twice the work for every frame a useful target.
        levels: distribution of noise levels of the frames to predict.
        max_history_level: teacher forcing noises each history frame by a level drawn from 0..this.
        action_dropout: probability of hiding a frame's action, each frame by itself.
        first_action: what the first frame of a clip is told of the unknown action before it: ``hidden`` as when an
            episode starts here, or ``zero``, an action like all others, as the published models were trained.
        self_history: teacher forcing replaces the recorded past by the network's own predictions in this share of
            the clips, so that it learns to carry on from its own mistakes.
        self_history_start: what those predictions start from: ``noise`` for worlds that follow from their actions, or
            ``drawn``, the recorded frame at a level drawn for it. What happens by chance in the recording then mostly
            stays in the past; from pure noise one step would predict the mean of all that may happen, and the network
            would learn that chance events vanish.
        self_history_passes: most times the past is predicted from an already predicted past, once per chained error.
        self_history_pool: clips that are kept for several steps, each time with the network's last prediction of them
            as their past: see `ClipPool`. A chain then costs no passes but those that learn, and can be long. 0
            predicts the whole chain anew at every step.
        context_frames: frames at the start of a clip that stay recorded ones.
        salience: how much more the loss looks where a frame is not as usual. Small things that decide, such as a far
            missile, are lost in the mean over a frame; with this, a place weighs 1 plus ``salience`` times the squared
            distance of its pixels, or its neighbours', from the usual there in the frame before, in deviations. What
            is new in a frame counts only ``NEW`` of that: the more an outcome of chance weighs, the more often it
            would be drawn.
    """

    objective: Literal["diffusion_forcing", "teacher_forcing"] = "diffusion_forcing"
    levels: LevelConfig = field(default_factory=LevelConfig)
    max_history_level: int = 0
    action_dropout: float = 0.2
    first_action: Literal["hidden", "zero"] = "hidden"
    self_history: float = 0.0
    self_history_start: Literal["noise", "drawn"] = "noise"
    self_history_passes: int = 1
    self_history_pool: int = 0
    context_frames: int = 4
    salience: float = 0.0

    def __post_init__(self) -> None:
        if not self.salience >= 0:
            raise ValueError(f"loss.salience: expected 0 or more, got {self.salience}")
        if self.objective not in ("diffusion_forcing", "teacher_forcing"):
            raise ValueError(f"loss.objective: expected diffusion_forcing or teacher_forcing, got {self.objective!r}")
        if self.first_action not in ("hidden", "zero"):
            raise ValueError(f"loss.first_action: expected hidden or zero, got {self.first_action!r}")
        if self.self_history_start not in ("noise", "drawn"):
            raise ValueError(f"loss.self_history_start: expected noise or drawn, got {self.self_history_start!r}")
        if self.self_history_passes < 1 or self.self_history_pool < 0:
            raise ValueError(
                "loss: expected self_history_passes of 1 or more and self_history_pool of 0 or more, got "
                f"{self.self_history_passes} and {self.self_history_pool}"
            )
        if self.self_history_pool and self.objective != "teacher_forcing":
            raise ValueError(f"loss.self_history_pool: expected objective=teacher_forcing, got {self.objective!r}")
        if self.self_history_pool and self.self_history_start == "noise" and self.levels.terminal_fraction < 1:
            raise ValueError(
                "loss.self_history_pool: expected levels.terminal_fraction=1 with self_history_start=noise, for what a "
                f"step predicts is the next one's past, got {self.levels.terminal_fraction:g}; or set "
                "self_history_start=drawn"
            )
