"""The causal, action-conditioned U-Net (Vid2World, sections 4.1 and 4.2; its layout follows DynamiCrafter)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from world_model.network.attention import zero_init
from world_model.network.blocks import Downsample, HeightCausalConv2d, Planes, ResBlock, Upsample, silu
from world_model.network.cache import NetworkCache
from world_model.network.embedding import SinusoidEmbedding, action_embedder
from world_model.network.normalization import GroupNorm, TemporalNorm
from world_model.network.time import FrameTree, TimePass
from world_model.network.transformer import ContextTokens, SpatialTransformer, TemporalTransformer
from world_model.types import ActionSpec, Conditioning


@dataclass(frozen=True)
class UNetConfig:
    """Sizes and switches of :class:`CausalUNet`; the defaults are the published network's (1.4 billion parameters).

    The last six are ours, for small networks: ``action_frequencies`` octaves of sines of bounded continuous actions,
    ``film`` (embeddings scale features and not only shift them), ``action_planes`` (the action and the coordinates of
    every place as input channels and, with ``film``, as scales and shifts of their own at every place, so that motion
    can depend on where something is relative to the action), ``stem_frames`` (latent frames that the first layer
    sees, itself included), ``copy_gate`` (the frame before is subtracted from v, as far as the embedding says, so that
    only what changes has to be predicted; needs ``stem_frames`` > 1), and ``patch_size`` (latents are folded into
    channels by patches of so many a side, and v unfolded: fewer, wider places).
    """

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_downsampling: tuple[int, ...] = (1, 2, 4)
    head_channels: int = 64
    context_dim: int | None = 1024
    text_tokens: int = 77
    image_tokens_per_frame: int = 16
    temporal_conv_depth: int = 4
    feed_forward_mult: int = 4
    norm_groups: int = 32
    dropout: float = 0.1
    causal: bool = True
    window: int = 16
    temporal_norm: TemporalNorm = "clip"
    init_attention: bool = True
    fps_condition: bool = True
    default_fps: int = 3
    output_conv: Literal["height_causal", "symmetric"] = "height_causal"
    action_frequencies: int = 0
    film: bool = False
    action_planes: bool = False
    stem_frames: int = 1
    copy_gate: bool = False
    patch_size: int = 1

    def __post_init__(self) -> None:
        if self.temporal_norm not in ("clip", "prefix", "frame"):
            raise ValueError(f"temporal_norm: expected clip, prefix or frame, got {self.temporal_norm!r}")
        for mult in self.channel_mult:
            channels = mult * self.model_channels
            if channels % self.norm_groups or channels % self.head_channels:
                raise ValueError(
                    f"model_channels x channel_mult = {channels} must be a multiple of "
                    f"norm_groups ({self.norm_groups}) and head_channels ({self.head_channels})"
                )


def _run(layer: nn.Module, *arguments: Any) -> Tensor:
    return layer(*arguments)


def _run_again_backward(layer: nn.Module, *arguments: Any) -> Tensor:
    """Keep none of the layer's inner values; the backward pass computes them again."""
    return checkpoint(layer, *arguments, use_reentrant=False)


Run = Callable[..., Tensor]


class Block(nn.ModuleList):
    """Layers run in turn, each given what it asks for."""

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        planes: Planes | None,
        context: ContextTokens | None,
        time: TimePass,
        run: Run = _run,
    ) -> Tensor:
        for layer in self:
            given: tuple[Any, ...] = ()
            if isinstance(layer, ResBlock):
                given = (embedding, planes, time)
            elif isinstance(layer, SpatialTransformer):
                given = (context,)
            elif isinstance(layer, TemporalTransformer):
                given = (time,)
            x = run(layer, x, *given)
        return x


class CausalUNet(nn.Module):
    """Predicts v for every frame of a call, each at its own noise level.

    With a cache, frames continue a remembered history; see :meth:`forward`.

    Attributes:
        gradient_checkpointing: for training: layers compute their inner values again in the backward pass instead of
            keeping them. Memory falls to a fraction, a step takes a third longer, results stay the same.
    """

    def __init__(self, config: UNetConfig, actions: ActionSpec | None = None) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        c, embed_dim = config.model_channels, 4 * config.model_channels
        self.time_embed = SinusoidEmbedding(c, embed_dim)
        self.fps_embed = SinusoidEmbedding(c, embed_dim) if config.fps_condition else None
        self.action_embed = action_embedder(actions, c, embed_dim, config.action_frequencies) if actions else None
        self.num_planes = 0
        if config.action_planes and self.action_embed is not None:
            self.num_planes = 2 + self.action_embed.num_features
        folded = config.patch_size**2
        self.stem = nn.Conv2d(folded * config.in_channels * config.stem_frames + self.num_planes, c, 3, padding=1)
        self.init_attention = None
        if config.init_attention:
            self.init_attention = self._temporal(c, heads=8)

        self.input_blocks = nn.ModuleList()
        skips, channels, down = [c], c, 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._block(channels, mult * c, down))
                channels = mult * c
                skips.append(channels)
            if level < len(config.channel_mult) - 1:
                self.input_blocks.append(Block([Downsample(channels)]))
                skips.append(channels)
                down *= 2
        self.middle_block = Block(
            [self._res(channels, channels), *self._attention(channels), self._res(channels, channels)]
        )
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.num_res_blocks + 1):
                block = self._block(channels + skips.pop(), mult * c, down)
                channels = mult * c
                if level and i == config.num_res_blocks:
                    block.append(Upsample(channels))
                    down //= 2
                self.output_blocks.append(block)
        self.norm_out = GroupNorm(config.norm_groups, channels)
        if config.output_conv == "height_causal":
            self.conv_out: nn.Conv2d = HeightCausalConv2d(channels, folded * config.out_channels)
        else:
            self.conv_out = nn.Conv2d(channels, folded * config.out_channels, 3, padding=1)
        zero_init(self.conv_out)
        self.copy_gate = None
        if config.copy_gate:
            if config.stem_frames < 2:
                raise ValueError("copy_gate needs stem_frames of 2 or more: it copies the frame before")
            self.copy_gate = nn.Linear(embed_dim, config.out_channels)
            nn.init.zeros_(self.copy_gate.weight)
            nn.init.constant_(self.copy_gate.bias, -1.0)  # at pure noise v is minus the clean frame

    def forward(
        self,
        latents: Tensor,
        levels: Tensor,
        cond: Conditioning,
        cache: NetworkCache | None = None,
        tree: FrameTree | None = None,
        commit: int | None = None,
    ) -> tuple[Tensor, NetworkCache | None]:
        """Denoise ``f`` frames.

        Args:
            latents: ``[b f c h w]``, noisy.
            levels: ``[b f]`` diffusion timesteps, 0 (clean) to 999.
            cond: per-frame conditioning; actions are those that led to each frame.
            cache: memory of the frames before these; an empty :class:`NetworkCache` starts one, ``None`` keeps none.
            tree: how the frames descend from each other; a chain if not given.
            commit: how many of the frames, from the first, the returned memory includes (all if not given);
                the others are only looked at.

        Returns:
            v ``[b f c h w]`` in float32, and the new memory (``None`` without ``cache``).

        Raises:
            ValueError: for shapes that do not fit each other or the configuration.
        """
        config = self.config
        b, f = self._check(latents, levels, cond)
        time = TimePass(tree or FrameTree.chain(f), cache, config.window, commit, config.causal)
        x = latents if cond.concat is None else torch.cat([latents, cond.concat], dim=2)
        action = self._action_features(cond)
        planes = Planes(_keep(action, cond.action_mask)) if self.num_planes and action is not None else None
        # Streaming writes to its memory in passing, which must not happen twice.
        again = self.gradient_checkpointing and cache is None and torch.is_grad_enabled()
        run = _run_again_backward if again else _run
        x, before = self._enter(x.to(self.stem.weight.dtype), planes, time, run)
        embedding = F.silu(self._embed(levels, action, cond))
        context = self._context(cond, f, x.dtype)

        skips = [x]
        for block in self.input_blocks:
            x = block(x, embedding, planes, context, time, run)
            skips.append(x)
        x = self.middle_block(x, embedding, planes, context, time, run)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), embedding, planes, context, time, run)
        x = F.pixel_shuffle(self.conv_out(silu(self.norm_out(x))), config.patch_size)
        v = rearrange(x, "(b f) c h w -> b f c h w", b=b)
        v = v if v.dtype is torch.float64 else v.float()
        if self.copy_gate is not None and before is not None:
            gate = rearrange(self.copy_gate(embedding), "(b f) c -> b f c 1 1", b=b).to(v)
            v = v + gate * before[:, :, : v.shape[2]].to(v)
        return v, time.result() if cache is not None else None

    def _action_features(self, cond: Conditioning) -> Tensor | None:
        """``[b f k]``; which of them are dropped is left to those who use them."""
        if self.action_embed is None:
            return None
        assert cond.actions is not None
        return self.action_embed.features(cond.actions)

    def _enter(self, x: Tensor, planes: Planes | None, time: TimePass, run: Run) -> tuple[Tensor, Tensor | None]:
        """From input latents ``[b f c h w]`` to features ``[(b f) c h w]``, and each frame's predecessor."""
        before = None
        if self.config.stem_frames > 1:
            ancestors = time.ancestors(x, self.config.stem_frames - 1)
            before = ancestors[-1]
            x = torch.cat([*ancestors, x], dim=2)
        x = F.pixel_unshuffle(rearrange(x, "b f c h w -> (b f) c h w"), self.config.patch_size)
        x = x.contiguous(memory_format=torch.channels_last)
        if planes is None:
            x = self.stem(x)
        else:
            of_latents, of_planes = self.stem.weight.tensor_split([x.shape[1]], dim=1)
            x = F.conv2d(x, of_latents, self.stem.bias, padding=1) + planes.convolved(of_planes, *x.shape[-2:])
        return (x if self.init_attention is None else run(self.init_attention, x, time)), before

    def _embed(self, levels: Tensor, action: Tensor | None, cond: Conditioning) -> Tensor:
        """Sum of the embeddings of noise level, frame rate and action: ``[(b f) d]``."""
        embedding = self.time_embed(levels)
        if self.fps_embed is not None:
            default = levels.new_full((levels.shape[0],), self.config.default_fps)
            embedding = embedding + self.fps_embed(default if cond.fps is None else cond.fps)[:, None]
        if self.action_embed is not None:
            embedding = embedding + _keep(self.action_embed(action), cond.action_mask)
        return embedding.flatten(0, 1)

    def _context(self, cond: Conditioning, frames: int, dtype: torch.dtype) -> ContextTokens | None:
        """Split text from image tokens; each frame gets its own image tokens if there are exactly enough for all."""
        if cond.context is None or self.config.context_dim is None:
            return None
        tokens = cond.context.to(dtype)
        text, image = tokens[:, : self.config.text_tokens], tokens[:, self.config.text_tokens :]
        if image.shape[1] == frames * self.config.image_tokens_per_frame:
            image = rearrange(image, "b (f m) d -> (b f) m d", f=frames)
        return ContextTokens(text, image)

    def _check(self, latents: Tensor, levels: Tensor, cond: Conditioning) -> tuple[int, int]:
        if latents.ndim != 5:
            raise ValueError(f"latents: expected [b f c h w], got shape {tuple(latents.shape)}")
        b, f = latents.shape[:2]
        if levels.shape != (b, f):
            raise ValueError(f"levels: expected one per frame, shape {(b, f)}, got {tuple(levels.shape)}")
        if self.action_embed is not None and (cond.actions is None or cond.actions.shape[:2] != (b, f)):
            got = None if cond.actions is None else tuple(cond.actions.shape)
            raise ValueError(f"actions: expected one per frame, shape ({b}, {f}, a), got {got}")
        return b, f

    # -- construction

    def _block(self, channels: int, out_channels: int, down: int) -> Block:
        layers: list[nn.Module] = [self._res(channels, out_channels)]
        if down in self.config.attention_downsampling:
            layers += self._attention(out_channels)
        return Block(layers)

    def _res(self, channels: int, out_channels: int) -> ResBlock:
        config = self.config
        return ResBlock(
            channels,
            out_channels,
            4 * config.model_channels,
            temporal_depth=config.temporal_conv_depth,
            groups=config.norm_groups,
            dropout=config.dropout,
            over=config.temporal_norm,
            film=config.film,
            planes=self.num_planes,
        )

    def _attention(self, channels: int) -> list[nn.Module]:
        config = self.config
        heads = channels // config.head_channels
        spatial = SpatialTransformer(channels, heads, config.context_dim, config.feed_forward_mult, config.norm_groups)
        return [spatial, self._temporal(channels, heads)]

    def _temporal(self, channels: int, heads: int) -> TemporalTransformer:
        config = self.config
        return TemporalTransformer(
            channels, heads, config.head_channels, config.feed_forward_mult, config.norm_groups, config.temporal_norm
        )


def _keep(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values ``[b f k]`` with those of masked frames at zero."""
    return values if mask is None else values * mask[..., None].to(values.dtype)
