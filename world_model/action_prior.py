"""What a recorded hand would do next to get from one state to another: a small generative model of actions.

Planners try its samples as candidates, as TD-MPC (Hansen et al. 2022) does with those of its policy: a search that
draws blindly rarely finds the way around a block. The samples come of flow matching (Lipman et al. 2023): noise is
carried along a learned velocity to an action sequence, so several ways to go are several samples and not their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from world_model.exact import ExactModule
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.types import ActionSpec

TIME_OCTAVES = 8
CLOSE = 3.0  # factor on differences to the goal, which are small beside the spread of states where they decide


@dataclass(frozen=True)
class ActionPriorConfig:
    """Settings of an action prior.

    Attributes:
        horizon: steps of the world model that it looks ahead, ``k``; where actions are blocks, it gives the last action
            of each.
        features: width of its hidden layers.
        layers: residual layers.
        sampling_steps: steps from noise to actions.
    """

    horizon: int = 5
    features: int = 256
    layers: int = 3
    sampling_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("horizon", "features", "layers", "sampling_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"action_prior.{name}: expected 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Errand:
    """From where to where, ``m`` times.

    Attributes:
        states: ``[m d]``, in the recording's units, as a :class:`~world_model.state_probe.StateProbe` reads them.
        goals: ``[m d]``, where to be.
        last: ``[m a]``, the action taken last.
        known: ``[m]``, whether that is known.
        steps: integers ``[m]``, in how many steps of the world model to be there, from 1 to the prior's horizon.
    """

    states: Tensor
    goals: Tensor
    last: Tensor
    known: Tensor
    steps: Tensor


class ActionPrior(ExactModule):
    """Draws action sequences ``[m k a]`` for errands.

    Args:
        config: its size.
        states: what the numbers of a state are.
        actions: a single action (not a block of them), bounded.

    Attributes:
        mean, deviation: ``[d]`` of the recorded states; 0 and 1 for angles.
        spread: ``[k a]``, how far recorded actions are from the one taken last, in halves of the action range.

    Raises:
        ValueError: actions that are not continuous, or without bounds.
    """

    mean: Tensor
    deviation: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, config: ActionPriorConfig, states: StateProbeConfig, actions: ActionSpec) -> None:
        super().__init__()
        if actions.kind != "box" or not all(map(math.isfinite, (*actions.low, *actions.high))):
            raise ValueError(f"action_prior: expected bounded continuous actions (Box), got {actions.kind}")
        self.config, self.columns = config, actions.size
        self.register_buffer("mean", torch.zeros(states.length))
        self.register_buffer("deviation", torch.ones(states.length))
        self.register_buffer("spread", torch.ones(config.horizon, actions.size))
        self.register_buffer("low", torch.tensor(actions.low), persistent=False)
        self.register_buffer("high", torch.tensor(actions.high), persistent=False)
        self._turning = list(states.angles)
        self._straight = [place for place in range(states.length) if place not in states.angles]
        told = 3 * (len(self._straight) + 2 * len(self._turning)) + actions.size + 1 + config.horizon
        width = config.features
        self.enter = nn.Linear(told + 2 * TIME_OCTAVES + config.horizon * actions.size, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(config.layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.horizon * actions.size))

    def set_statistics(self, probe: StateProbe, actions: Tensor, last: Tensor) -> None:
        """Start from the spread of states that the probe knows, and of recorded ``actions [m k a]`` after ``last
        [m a]``."""
        self.mean.copy_(probe.mean)
        self.deviation.copy_(probe.deviation)
        apart = self._scaled(actions) - self._scaled(last)[:, None]
        self.spread.copy_(apart.square().mean(0).sqrt().clamp_min(1e-3))

    def sample(self, errand: Errand, noise: Tensor) -> Tensor:
        """``noise [m k a]`` as actions ``[m k a]``, in their own units and bounds."""
        told, count = self._told(errand), self.config.sampling_steps
        points = noise
        for step in range(count):
            time = noise.new_full((len(noise),), step / count)
            points = points + self.velocity(points, time, told) / count
        scaled = self._start(errand)[:, None] + self.spread * points
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (middle + half * scaled).clamp(self.low, self.high)

    def loss(self, errand: Errand, actions: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Squared error of the velocity from ``noise [m k a]`` to ``actions [m k a]`` at ``time [m]``, 0 to 1."""
        points = (self._scaled(actions) - self._start(errand)[:, None]) / self.spread
        between = torch.lerp(noise, points, time[:, None, None])
        return functional.mse_loss(self.velocity(between, time, self._told(errand)), points - noise)

    def velocity(self, points: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """Where ``points [m k a]`` move at ``time [m]``, from noise at 0 to actions at 1."""
        phases = time[:, None] * (math.pi / 2) * 2.0 ** torch.arange(TIME_OCTAVES, device=time.device)
        hidden = self.enter(torch.cat([points.flatten(1), told, phases.sin(), phases.cos()], dim=1))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return rearrange(self.leave(hidden), "m (k a) -> m k a", a=self.columns)

    def errands(
        self, states: Tensor, goals: Tensor, last: Tensor, known: Tensor, count: int, horizon: int | None = None
    ) -> Errand:
        """``count`` errands for each row of ``states [b d]`` and so on, to be there in ``horizon`` steps (at most the
        prior's), in one fewer, and so on down to 1, and again."""
        steps = min(horizon or self.config.horizon, self.config.horizon)
        each = steps - torch.arange(count, device=states.device) % steps
        states, goals, last, known = (part.repeat_interleave(count, 0) for part in (states, goals, last, known))
        return Errand(states, goals, last, known, each.repeat(len(states) // count))

    def _told(self, errand: Errand) -> Tensor:
        """What the network is told of the errands, ``[m f]``."""
        straight = ((errand.states - self.mean) / self.deviation)[:, self._straight]
        aim = ((errand.goals - self.mean) / self.deviation)[:, self._straight]
        angles = [errand.states, errand.goals, errand.goals - errand.states]
        turns = [wave(angle[:, self._turning]) for angle in angles for wave in (torch.sin, torch.cos)]
        known = errand.known.to(straight)[:, None]
        togo = functional.one_hot(errand.steps - 1, self.config.horizon)
        return torch.cat(
            [straight, aim, CLOSE * (aim - straight), *turns, self._start(errand), known, togo.to(straight)], dim=1
        )

    def _start(self, errand: Errand) -> Tensor:
        """``[m a]``: the action taken last, the middle of the range where it is not known."""
        return self._scaled(errand.last) * errand.known.to(errand.last)[:, None]

    def _scaled(self, actions: Tensor) -> Tensor:
        """In halves of the action range, from its middle."""
        return (2 * actions - self.low - self.high) / (self.high - self.low)
