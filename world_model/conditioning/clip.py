"""The two halves of a CLIP model, as the video model reads them: tokens of an image, tokens of a caption.

Both are cut out of transformers' implementation. What comes after the tokens (pooling, final image norm, projections)
belongs to CLIP's training and has no weights here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from world_model.conditioning.clip_preprocess import clip_preprocess

START, END = 49406, 49407  # CLIP's tokens around every caption; the rest of the 77 places is filled with zeros
EMPTY_CAPTION = (START, END)


@dataclass(frozen=True)
class ImageTowerConfig:
    """Shape of the image tower; the defaults are those of ViT-H/14.

    Attributes:
        width: Width of a token.
        layers: Transformer blocks.
        head_width: Width of one attention head; must divide `width`.
        patch_size: Pixels of a patch along one side; must divide `image_size`.
        image_size: Frames are resized to a square of this many pixels.
        mlp_ratio: The feed-forward's hidden width, in multiples of `width`.
    """

    width: int = 1280
    layers: int = 32
    head_width: int = 80
    patch_size: int = 14
    image_size: int = 224
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.width % self.head_width:
            raise ValueError(
                f"image tower width: expected a multiple of head_width={self.head_width}, got {self.width}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image tower image_size: expected a multiple of patch_size={self.patch_size}, got {self.image_size}"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of one image: one for the whole, then one per patch."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class TextTowerConfig:
    """Shape of the text tower; the defaults are those of ViT-H/14.

    Attributes:
        width: Width of a token.
        layers: Transformer blocks of the whole CLIP model; the last one is not used.
        heads: Attention heads; must divide `width`.
        vocab_size: Different tokens.
        context_length: Tokens of a caption, padding included.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    vocab_size: int = 49408
    context_length: int = 77

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"text tower width: expected a multiple of heads={self.heads}, got {self.width}")
        if self.layers < 2:
            raise ValueError(f"text tower layers: expected 2 or more, the last is not used, got {self.layers}")


class ImageTower(nn.Module):
    """Frames `[b 3 h w]` in [-1, 1], any size, to the tokens of the last block `[b num_tokens width]`."""

    def __init__(self, config: ImageTowerConfig) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModel  # slow to import

        self.config = config
        whole = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.width,
                intermediate_size=int(config.width * config.mlp_ratio),
                num_hidden_layers=config.layers,
                num_attention_heads=config.width // config.head_width,
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_act="gelu",
            )
        )
        self.transformer = getattr(whole, "vision_model", whole)  # older versions of transformers wrap it once more
        self.transformer.post_layernorm = nn.Identity()  # of the pooled token only, which nobody reads
        _keep_off_meta(self.transformer.embeddings)

    def forward(self, frames: Tensor) -> Tensor:
        """Raises ValueError for frames of another shape or type, as `clip_preprocess` does."""
        pixels = clip_preprocess(frames, self.config.image_size)
        return self.transformer(pixels.to(self.transformer.embeddings.class_embedding.dtype)).last_hidden_state


class TextTower(nn.Module):
    """Token numbers `[b context_length]` of captions to their tokens `[b context_length width]`.

    These are the tokens before the last block, normalised by the final norm; each sees only those before it.
    """

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel  # slow to import

        self.config = config
        whole = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.layers - 1,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context_length,
                hidden_act="gelu",
                bos_token_id=config.vocab_size - 2,  # the last two, as in CLIP; only the pooled token needs them
                eos_token_id=config.vocab_size - 1,
            )
        )
        self.transformer = getattr(whole, "text_model", whole)  # older versions of transformers wrap it once more
        _keep_off_meta(self.transformer.embeddings)

    def forward(self, ids: Tensor) -> Tensor:
        """Raises ValueError for token numbers of another shape."""
        if ids.ndim != 2 or ids.shape[1] != self.config.context_length:
            raise ValueError(
                f"token numbers: expected [b {self.config.context_length}], got {list(ids.shape)}; pad with zeros"
            )
        return self.transformer(input_ids=ids).last_hidden_state


def empty_caption_ids(context_length: int = 77) -> Tensor:
    """The empty caption `[1 context_length]`, padded with zeros as CLIP's own tokenizer does."""
    ids = torch.zeros(1, context_length, dtype=torch.int64)
    ids[0, : len(EMPTY_CAPTION)] = torch.tensor(EMPTY_CAPTION)
    return ids


def _keep_off_meta(embeddings: nn.Module) -> None:
    """Give the position numbers, which no checkpoint stores, values also where the weights are still on `meta`."""
    positions = embeddings.get_buffer("position_ids").shape[1]
    embeddings.register_buffer("position_ids", torch.arange(positions, device="cpu")[None], persistent=False)
