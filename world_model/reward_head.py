"""A learned judge of imagined frames: what an action earned, and whether the episode is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from world_model.exact import ExactModule
from world_model.network.embedding import action_embedder
from world_model.types import ActionSpec

SMALLEST_SIDE = 4  # of the map that is flattened: coarse, but where things are still counts


@dataclass(frozen=True)
class RewardHeadConfig:
    """Size of the head.

    Attributes:
        channels: of the first convolution; coarser ones have twice as many.
        features: length of what one frame is summed up in.
        memory: length of what is remembered of all frames, ``d`` in shapes.
        action_features: length of an action's embedding.
        dropout: on the features, in training only.
        termination_odds: by which the odds of an end are multiplied. A dream that loses dangers on their way to the
            player ends too rarely, however well the head reads recorded frames; this makes up for it.
    """

    channels: int = 24
    features: int = 128
    memory: int = 128
    action_features: int = 32
    dropout: float = 0.2
    termination_odds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("channels", "features", "memory", "action_features"):
            if getattr(self, name) < 1:
                raise ValueError(f"reward_head.{name}: expected 1 or more, got {getattr(self, name)}")
        if not 0 < self.termination_odds < math.inf:
            raise ValueError(f"reward_head.termination_odds: expected a number above 0, got {self.termination_odds}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"reward_head.dropout: expected 0 up to but not 1, got {self.dropout}")


class RewardHead(ExactModule):
    """Reward and probability of termination after each action, from the frames' latents and the actions so far.

    Whether an episode ends may depend on what is no longer to be seen (how often the player was hit before), so the
    head is recurrent: a small convolutional network sums up each new frame, and a GRU cell remembers. Like a world
    model's state, the memory ``[b d]`` is a value that the caller passes in and out.

    It stays in float32 when the model around it is moved to another type: probabilities near 0 and 1 and a memory of
    hundreds of steps need the digits, and it is too small for its speed to matter.

    Args:
        config: sizes.
        actions: the action space.
        latent_shape: ``(c, h, w)`` of a latent frame.

    Attributes:
        reward_mean, reward_scale: of the recorded rewards, in the simulator's units; predictions are in these units.
            Scale 0 means that all were the same.
    """

    reward_mean: Tensor
    reward_scale: Tensor

    def __init__(self, config: RewardHeadConfig, actions: ActionSpec, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.look = _look(config, latent_shape)
        self.action = action_embedder(actions, config.action_features, config.action_features, frequencies=2)
        self.remember = nn.GRUCell(config.features + config.action_features, config.memory)
        self.judge = nn.Linear(config.memory, 2)
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_scale", torch.ones(()))

    def set_statistics(self, rewards: Tensor, terminations: Tensor) -> None:
        """Start from the recorded rewards ``[n]`` and terminations ``[n]``: their mean, spread and rate."""
        rewards = rewards.float()
        self.reward_mean.copy_(rewards.mean())
        self.reward_scale.copy_(rewards.std(correction=0))
        rate = (terminations.float().sum().item() + 0.5) / (len(terminations) + 1)
        with torch.no_grad():
            self.judge.bias.copy_(torch.tensor([0.0, math.log(rate / (1 - rate))]))

    # -- memory

    def begin(self, latent: Tensor) -> Tensor:
        """Memory ``[b d]`` of an episode's first frame ``[b c h w]``, which no action led to."""
        seen = self.look(latent.float())
        nothing = seen.new_zeros(len(seen), self.config.action_features)
        return self.remember(torch.cat([seen, nothing], dim=1))

    def advance(self, memory: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        """Memory ``[b d]`` after one more action ``[b a]`` and the frame ``[b c h w]`` that it led to."""
        return self.remember(torch.cat([self.look(latent.float()), self._embed(action)], dim=1), memory)

    def sequence(self, latents: Tensor, actions: Tensor, memory: Tensor | None = None) -> Tensor:
        """Memories after each of several frames, as :meth:`begin` and :meth:`advance` would give them one by one.

        Args:
            latents: ``[b t c h w]``.
            actions: ``[b t-1 a]`` between them; ``[b t a]``, the first one leading to the first frame, with ``memory``.
            memory: ``[b d]`` before the first frame; without, the first frame begins an episode.

        Returns:
            ``[b t d]``.
        """
        b, t = latents.shape[:2]
        seen = self.look(latents.float().flatten(0, 1)).unflatten(0, (b, t))
        embedded = self._embed(actions.flatten(0, 1)).unflatten(0, (b, actions.shape[1]))
        if memory is None:
            nothing = embedded.new_zeros(b, 1, self.config.action_features)
            embedded = torch.cat([nothing, embedded], dim=1)
        memories = []
        for step in torch.cat([seen, embedded], dim=2).unbind(1):
            memory = self.remember(step, memory)
            memories.append(memory)
        return torch.stack(memories, dim=1)

    # -- judgement

    def predict(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Of memories ``[... d]``: the expected reward of the last action ``[...]``, in the simulator's units, and the
        probability ``[...]`` that the episode ended with it."""
        reward, logit = self.outputs(memory)
        odds = math.log(self.config.termination_odds)
        return self.reward_mean + self.reward_scale * reward, (logit + odds).sigmoid()

    def outputs(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What training looks at: the reward, in units of ``reward_scale`` from the mean, and termination's logit."""
        reward, logit = self.judge(memory.float()).unbind(-1)
        return reward, logit

    def _embed(self, actions: Tensor) -> Tensor:
        return self.action(self.action.features(actions[:, None]))[:, 0]


def _look(config: RewardHeadConfig, latent_shape: tuple[int, int, int]) -> nn.Sequential:
    """Latents ``[n c h w] -> [n features]``: convolutions that halve the sides, then all that is left at once."""
    channels, height, width = latent_shape
    out = config.channels
    layers: list[nn.Module] = [nn.Conv2d(channels, out, 3, padding=1), nn.SiLU()]
    while min(height, width) > SMALLEST_SIDE:
        before, out = out, 2 * config.channels
        layers += [nn.Conv2d(before, out, 3, stride=2, padding=1), nn.GroupNorm(1, out), nn.SiLU()]
        height, width = -(-height // 2), -(-width // 2)
    flat = nn.Linear(out * height * width, config.features)
    return nn.Sequential(
        *layers, nn.Flatten(), flat, nn.LayerNorm(config.features), nn.SiLU(), nn.Dropout(config.dropout)
    )
