"""Names and shapes of the published checkpoints' tensors, at any size: what synthetic checkpoints are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from world_model.checkpoints.plan import SCHEDULE_BUFFERS

Shape = tuple[int, ...]
Entry = tuple[str, Shape]


@dataclass(frozen=True)
class PublishedSizes:
    """Sizes of a published model; the defaults are the full ones of Vid2World's RT-1 model.

    Attributes:
        actions: ``continuous`` numbers, ``multi_hot`` rows of a table, or ``none`` (DynamiCrafter).
        action_size: how many.
        causal: Vid2World's names, or DynamiCrafter's.
    """

    actions: Literal["continuous", "multi_hot", "none"] = "continuous"
    action_size: int = 13
    causal: bool = True
    model_channels: int = 320
    channel_mult: Shape = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_downsampling: Shape = (1, 2, 4)
    head_channels: int = 64
    latent_channels: int = 4
    autoencoder_channels: Shape = (128, 256, 512, 512)
    autoencoder_blocks: int = 2
    image_width: int = 1280
    image_layers: int = 32
    image_size: int = 224
    patch_size: int = 14
    text_width: int = 1024
    text_layers: int = 24
    text_length: int = 77
    vocabulary: int = 49408
    projector_width: int = 1024
    projector_inner: int = 768
    projector_layers: int = 4
    image_tokens: int = 256


def published_shapes(sizes: PublishedSizes) -> dict[str, Shape]:
    """All tensors of a checkpoint, with their prefixes."""
    parts = {
        "": _schedule(),
        "model.diffusion_model.": _network(sizes),
        "first_stage_model.": _autoencoder(sizes),
        "cond_stage_model.model.": _text(sizes),
        "embedder.model.": _image(sizes),
        "image_proj_model.": _projector(sizes),
    }
    return {prefix + name: shape for prefix, entries in parts.items() for name, shape in entries}


def _schedule() -> Iterator[Entry]:
    for name in SCHEDULE_BUFFERS:
        yield name, (1400,) if name == "scale_arr" else (1000,)


# -- layers


def _affine(name: str, *weight: int) -> Iterator[Entry]:
    """A layer with a weight and one bias per output."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _matrices(name: str, shapes: dict[str, Shape]) -> Iterator[Entry]:
    for layer, shape in shapes.items():
        yield f"{name}.{layer}.weight", shape


# -- the video network


def _network(sizes: PublishedSizes) -> Iterator[Entry]:
    c, depth = sizes.model_channels, len(sizes.channel_mult)
    embed = 4 * c
    for name in ("time_embed", "fps_embedding"):
        yield from _affine(f"{name}.0", embed, c)
        yield from _affine(f"{name}.2", embed, embed)
    yield from _actions(sizes, embed)
    yield from _affine("input_blocks.0.0", c, 2 * sizes.latent_channels, 3, 3)
    yield from _transformer("init_attn.0", c, 8 * sizes.head_channels, None, linear=False)

    skips, width, i = [c], c, 1
    for level, mult in enumerate(sizes.channel_mult):
        for _ in range(sizes.num_res_blocks):
            yield from _block(f"input_blocks.{i}", sizes, width, mult * c, level)
            width, i = mult * c, i + 1
            skips.append(width)
        if level < depth - 1:
            yield from _affine(f"input_blocks.{i}.0.op", width, width, 3, 3)
            skips.append(width)
            i += 1
    yield from _res("middle_block.0", sizes, width, width)
    yield from _attention("middle_block", sizes, width)
    yield from _res("middle_block.3", sizes, width, width)
    i = 0
    for level in reversed(range(depth)):
        out = sizes.channel_mult[level] * c
        for block in range(sizes.num_res_blocks + 1):
            yield from _block(f"output_blocks.{i}", sizes, width + skips.pop(), out, level)
            width = out
            if level and block == sizes.num_res_blocks:
                layer = 3 if _attends(sizes, level) else 1
                yield from _affine(f"output_blocks.{i}.{layer}.conv", width, width, 3, 3)
            i += 1
    yield from _affine("out.0", width)
    yield from _affine("out.2.conv2d" if sizes.causal else "out.2", sizes.latent_channels, width, 3, 3)


def _actions(sizes: PublishedSizes, embed: int) -> Iterator[Entry]:
    c = sizes.model_channels
    if sizes.actions == "continuous":
        yield from _affine("action_emb_proj.0", c, sizes.action_size)
        yield from _affine("action_emb_proj.2", embed, c)
        yield from _affine("action_emb_proj.4", embed, embed)
    elif sizes.actions == "multi_hot":
        yield "action_emb_preprocess.weight", (sizes.action_size, c)
        yield from _affine("action_emb_proj.0", embed, c)
        yield from _affine("action_emb_proj.2", embed, embed)


def _attends(sizes: PublishedSizes, level: int) -> bool:
    return 2**level in sizes.attention_downsampling


def _block(name: str, sizes: PublishedSizes, width: int, out: int, level: int) -> Iterator[Entry]:
    yield from _res(f"{name}.0", sizes, width, out)
    if _attends(sizes, level):
        yield from _attention(name, sizes, out)


def _attention(name: str, sizes: PublishedSizes, width: int) -> Iterator[Entry]:
    yield from _transformer(f"{name}.1", width, width, sizes.text_width)
    yield from _transformer(f"{name}.2", width, width, None)


def _res(name: str, sizes: PublishedSizes, width: int, out: int) -> Iterator[Entry]:
    yield from _affine(f"{name}.in_layers.0", width)
    yield from _affine(f"{name}.in_layers.2", out, width, 3, 3)
    yield from _affine(f"{name}.emb_layers.1", out, 4 * sizes.model_channels)
    yield from _affine(f"{name}.out_layers.0", out)
    yield from _affine(f"{name}.out_layers.3", out, out, 3, 3)
    if width != out:
        yield from _affine(f"{name}.skip_connection", out, width, 1, 1)
    for conv in range(1, 5):
        stack = f"{name}.temopral_conv.conv{conv}"
        kernel = f"{stack}.{2 if conv == 1 else 3}" + (".conv3d" if sizes.causal else "")
        yield from _affine(f"{stack}.0", out)
        yield from _affine(kernel, out, out, 3, 1, 1)


def _transformer(name: str, width: int, inner: int, context: int | None, linear: bool = True) -> Iterator[Entry]:
    """Over space with a ``context`` of that width, otherwise over time."""
    one = () if linear else (1,)  # a convolution of kernel 1 where it is not linear
    yield from _affine(f"{name}.norm", width)
    yield from _affine(f"{name}.proj_in", inner, width, *one)
    block = f"{name}.transformer_blocks.0"
    square = (inner, inner)
    yield from _matrices(f"{block}.attn1", dict(to_q=square, to_k=square, to_v=square))
    yield from _affine(f"{block}.attn1.to_out.0", *square)
    yield from _affine(f"{block}.ff.net.0.proj", 8 * inner, inner)
    yield from _affine(f"{block}.ff.net.2", inner, 4 * inner)
    if context is None:
        yield from _matrices(f"{block}.attn2", dict(to_q=square, to_k=square, to_v=square))
    else:
        keys = (inner, context)
        yield from _matrices(f"{block}.attn2", dict(to_q=square, to_k=keys, to_v=keys, to_k_ip=keys, to_v_ip=keys))
    yield from _affine(f"{block}.attn2.to_out.0", *square)
    for norm in (1, 2, 3):
        yield from _affine(f"{block}.norm{norm}", inner)
    yield from _affine(f"{name}.proj_out", width, inner, *one)


# -- what it is conditioned on


def _autoencoder(sizes: PublishedSizes) -> Iterator[Entry]:
    widths, blocks, z = sizes.autoencoder_channels, sizes.autoencoder_blocks, sizes.latent_channels
    last = widths[-1]
    yield from _affine("encoder.conv_in", widths[0], 3, 3, 3)
    width = widths[0]
    for level, out in enumerate(widths):
        for block in range(blocks):
            yield from _vae_block(f"encoder.down.{level}.block.{block}", width, out)
            width = out
        if level < len(widths) - 1:
            yield from _affine(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    yield from _vae_middle("encoder", last)
    yield from _affine("encoder.norm_out", last)
    yield from _affine("encoder.conv_out", 2 * z, last, 3, 3)
    yield from _affine("decoder.conv_in", last, z, 3, 3)
    yield from _vae_middle("decoder", last)
    for level, out in reversed(list(enumerate(widths))):
        for block in range(blocks + 1):
            yield from _vae_block(f"decoder.up.{level}.block.{block}", width, out)
            width = out
        if level:
            yield from _affine(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from _affine("decoder.norm_out", widths[0])
    yield from _affine("decoder.conv_out", 3, widths[0], 3, 3)
    yield from _affine("quant_conv", 2 * z, 2 * z, 1, 1)
    yield from _affine("post_quant_conv", z, z, 1, 1)


def _vae_middle(name: str, width: int) -> Iterator[Entry]:
    yield from _vae_block(f"{name}.mid.block_1", width, width)
    yield from _affine(f"{name}.mid.attn_1.norm", width)
    for layer in ("q", "k", "v", "proj_out"):
        yield from _affine(f"{name}.mid.attn_1.{layer}", width, width, 1, 1)
    yield from _vae_block(f"{name}.mid.block_2", width, width)


def _vae_block(name: str, width: int, out: int) -> Iterator[Entry]:
    yield from _affine(f"{name}.norm1", width)
    yield from _affine(f"{name}.conv1", out, width, 3, 3)
    yield from _affine(f"{name}.norm2", out)
    yield from _affine(f"{name}.conv2", out, out, 3, 3)
    if width != out:
        yield from _affine(f"{name}.nin_shortcut", out, width, 1, 1)


def _text(sizes: PublishedSizes) -> Iterator[Entry]:
    yield from _text_ends(sizes)
    yield from _clip_blocks("transformer", sizes.text_width, sizes.text_layers)


def _image(sizes: PublishedSizes) -> Iterator[Entry]:
    """The image tower, and what open_clip keeps of the text tower beside it."""
    width, patch = sizes.image_width, sizes.patch_size
    yield from _text_ends(sizes)
    yield "visual.class_embedding", (width,)
    yield "visual.positional_embedding", (1 + (sizes.image_size // patch) ** 2, width)
    yield "visual.proj", (width, sizes.text_width)
    yield "visual.conv1.weight", (width, 3, patch, patch)
    yield from _affine("visual.ln_pre", width)
    yield from _clip_blocks("visual.transformer", width, sizes.image_layers)
    yield from _affine("visual.ln_post", width)


def _text_ends(sizes: PublishedSizes) -> Iterator[Entry]:
    width = sizes.text_width
    yield "positional_embedding", (sizes.text_length, width)
    yield "text_projection", (width, width)
    yield "logit_scale", ()
    yield "token_embedding.weight", (sizes.vocabulary, width)
    yield from _affine("ln_final", width)


def _clip_blocks(name: str, width: int, layers: int) -> Iterator[Entry]:
    for i in range(layers):
        block = f"{name}.resblocks.{i}"
        yield from _affine(f"{block}.ln_1", width)
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from _affine(f"{block}.attn.out_proj", width, width)
        yield from _affine(f"{block}.ln_2", width)
        yield from _affine(f"{block}.mlp.c_fc", 4 * width, width)
        yield from _affine(f"{block}.mlp.c_proj", width, 4 * width)


def _projector(sizes: PublishedSizes) -> Iterator[Entry]:
    width, inner, out = sizes.projector_width, sizes.projector_inner, sizes.text_width
    yield "latents", (1, sizes.image_tokens, width)
    yield from _affine("proj_in", width, sizes.image_width)
    yield from _affine("proj_out", out, width)
    yield from _affine("norm_out", out)
    for i in range(sizes.projector_layers):
        yield from _affine(f"layers.{i}.0.norm1", width)
        yield from _affine(f"layers.{i}.0.norm2", width)
        yield from _matrices(
            f"layers.{i}.0", dict(to_q=(inner, width), to_kv=(2 * inner, width), to_out=(width, inner))
        )
        yield from _affine(f"layers.{i}.1.0", width)
        yield from _matrices(f"layers.{i}.1", {"1": (4 * width, width), "3": (width, 4 * width)})
