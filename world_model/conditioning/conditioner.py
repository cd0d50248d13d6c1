"""What a published video model is told besides actions: the tokens of a caption and of the clip's first frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from world_model.conditioning.clip import ImageTower, ImageTowerConfig
from world_model.conditioning.image_projector import Resampler, ResamplerConfig


@dataclass(frozen=True)
class ConditionerConfig:
    """Shape of the conditioner; the defaults are those of the published models.

    Attributes:
        image: The image tower.
        projector: Turns its tokens into context tokens.
        text_tokens: Tokens of the caption.
    """

    image: ImageTowerConfig = field(default_factory=ImageTowerConfig)
    projector: ResamplerConfig = field(default_factory=ResamplerConfig)
    text_tokens: int = 77

    def __post_init__(self) -> None:
        if self.projector.embedding_dim != self.image.width:
            raise ValueError(
                f"conditioner projector.embedding_dim: expected image.width={self.image.width}, got "
                f"{self.projector.embedding_dim}; change one of the two"
            )

    @property
    def num_tokens(self) -> int:
        """Context tokens: those of the caption, then `num_queries` for each of `video_length` frames."""
        return self.text_tokens + self.projector.video_length * self.projector.num_queries


class Conditioner(nn.Module):
    """Context `[b num_tokens d]` of a clip's first frame `[b 3 h w]` in [-1, 1]: caption tokens, then image tokens.

    All published models were trained with the empty caption, so its tokens are kept in the buffer `caption`
    (`[text_tokens d]`) and the text tower is not. The image tower is frozen; only the projector trains, as in the
    paper. Computed once per reset, not once per step.
    """

    caption: Tensor

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower = ImageTower(config.image).requires_grad_(False)
        self.projector = Resampler(config.projector)
        self.register_buffer("caption", torch.zeros(config.text_tokens, config.projector.output_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """Raises ValueError for frames of another shape or type."""
        image = self.projector(self.image_tower(frames))
        return torch.cat([self.caption.to(image.dtype).expand(len(image), -1, -1), image], dim=1)

    def blank_context(self, batch_size: int) -> Tensor:
        """The context of a grey frame, which training puts in place of dropped images."""
        size = self.config.image.image_size
        return self(self.caption.new_zeros(1, 3, size, size)).expand(batch_size, -1, -1)

    def set_caption(self, tokens: Tensor) -> None:
        """Fix the caption's tokens `[text_tokens d]`, the text tower's output.

        Raises:
            ValueError: tokens of another shape.
        """
        if tokens.shape != self.caption.shape:
            raise ValueError(f"caption: expected {list(self.caption.shape)}, got {list(tokens.shape)}")
        with torch.no_grad():
            self.caption.copy_(tokens)
