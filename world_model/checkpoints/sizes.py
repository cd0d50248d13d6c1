"""Read a model's sizes off the shapes of a published checkpoint's tensors, so that one loader serves all sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from world_model.checkpoints.transfer import OutputConv
from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.conditioning.clip import ImageTowerConfig, TextTowerConfig
from world_model.conditioning.image_projector import ResamplerConfig
from world_model.config import SamplingConfig
from world_model.network.normalization import TemporalNorm
from world_model.network.unet import UNetConfig
from world_model.types import ActionSpec

INIT_ATTENTION_HEADS = 8  # whatever the other sizes are


@dataclass(frozen=True)
class PublishedLayout:
    """What shapes do not tell about a published model; the defaults are those of the RT-1 and CSGO models.

    Attributes:
        frame_size: height and width of a frame in pixels.
        fps: frames per second of the recordings, and the number the network was told in training.
        window: frames the network sees at once.
        context_frames: recorded frames that a dream starts from.
        image_head_width, text_head_width, projector_head_width: width of one attention head.
        video_length: frames that the image projector makes tokens for.
        norm_groups: groups of every group norm.
        temporal_norm, output_conv: see :class:`UNetConfig`; the defaults are what the weights were trained with.
        sampling: ``None`` is how the paper's numbers were made, in the reference's mode where ``temporal_norm`` is
            ``clip``.
    """

    frame_size: tuple[int, int] = (320, 512)
    fps: int = 3
    window: int = 16
    context_frames: int = 1
    image_head_width: int = 80
    text_head_width: int = 64
    projector_head_width: int = 64
    video_length: int = 16
    norm_groups: int = 32
    temporal_norm: TemporalNorm = "clip"
    output_conv: OutputConv = "height_causal"
    sampling: SamplingConfig | None = None

    def sampling_config(self) -> SamplingConfig:
        """The given one or the paper's: 50 steps, and history at the level of the second lowest of them."""
        return self.sampling or SamplingConfig(
            num_sampling_steps=50,
            guidance_scale=2.5,
            guidance_rescale=0.7,
            eta=1.0,
            history_noise_level=39,
            mode="reference" if self.temporal_norm == "clip" else "standard",
        )


class Shapes:
    """Shapes of one part's tensors, by names without the part's prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], part: str) -> None:
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._part = part

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            raise ValueError(
                f"{self._part}: {name} is missing, from which sizes are read; the checkpoint is incomplete"
            )
        return self._shapes[name]

    def count(self, pattern: str) -> int:
        """How many numbers the pattern's group takes, counted from 0."""
        return 1 + max((int(m[1]) for name in self._shapes if (m := re.match(pattern, name))), default=-1)

    def first(self, ending: str) -> tuple[int, ...]:
        """The shape of the first tensor whose name ends so."""
        return self[next((name for name in self._shapes if name.endswith(ending)), f"*{ending}")]


def network_config(
    tensors: Mapping[str, Tensor], layout: PublishedLayout, text_tokens: int, image_tokens_per_frame: int
) -> UNetConfig:
    """Sizes of the causal network that these tensors (causal or not) are for."""
    shapes = Shapes(tensors, "network")
    channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    widths: list[list[int]] = [[]]  # of the residual blocks, by resolution
    attended = set()
    for i in range(1, shapes.count(r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{i}.0.op.weight" in shapes:
            widths.append([])
            continue
        widths[-1].append(shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0])
        if f"input_blocks.{i}.1.norm.weight" in shapes:
            attended.add(2 ** (len(widths) - 1))
    if len({len(level) for level in widths}) != 1 or not widths[0]:
        raise ValueError(f"network: expected equally many residual blocks per resolution, got {list(map(len, widths))}")
    causal = "out.2.conv2d.weight" in shapes
    taps = shapes.first(".temopral_conv.conv1.2.conv3d.weight" if causal else ".temopral_conv.conv1.2.weight")[2]
    if taps != 3:
        raise ValueError(f"network: expected kernels of 3 frames, got {taps}; see transfer_taps for other kernels")
    inner, model_channels = shapes["init_attn.0.proj_in.weight"][:2]
    hidden = shapes.first(".ff.net.2.weight")
    return UNetConfig(
        in_channels=in_channels,
        out_channels=shapes["out.2.conv2d.weight" if causal else "out.2.weight"][0],
        model_channels=model_channels,
        channel_mult=tuple(level[-1] // channels for level in widths),
        num_res_blocks=len(widths[0]),
        attention_downsampling=tuple(sorted(attended)),
        head_channels=inner // INIT_ATTENTION_HEADS,
        context_dim=shapes.first(".attn2.to_k_ip.weight")[1],
        text_tokens=text_tokens,
        image_tokens_per_frame=image_tokens_per_frame,
        temporal_conv_depth=shapes.count(r"input_blocks\.1\.0\.temopral_conv\.conv(\d)\.") - 1,  # numbered from 1
        feed_forward_mult=hidden[1] // hidden[0],
        norm_groups=layout.norm_groups,
        window=layout.window,
        temporal_norm=layout.temporal_norm,
        fps_condition="fps_embedding.0.weight" in shapes,
        default_fps=layout.fps,
        output_conv=layout.output_conv,
    )


def autoencoder_config(tensors: Mapping[str, Tensor], layout: PublishedLayout) -> AutoencoderConfig:
    shapes = Shapes(tensors, "autoencoder")
    levels = shapes.count(r"encoder\.down\.(\d+)\.")
    return AutoencoderConfig(
        latent_channels=shapes["decoder.conv_in.weight"][1],
        block_out_channels=tuple(shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)),
        layers_per_block=shapes.count(r"encoder\.down\.0\.block\.(\d+)\."),
        norm_num_groups=layout.norm_groups,
        mid_attention="encoder.mid.attn_1.q.weight" in shapes,
        patch_size=1,
        frame_channels=shapes["encoder.conv_in.weight"][1],
        quant_conv="quant_conv.weight" in shapes,
    )


def image_tower_config(tensors: Mapping[str, Tensor], layout: PublishedLayout) -> ImageTowerConfig:
    shapes = Shapes(tensors, "CLIP image tower")
    width, _, patch, _ = shapes["visual.conv1.weight"]
    side = math.isqrt(shapes["visual.positional_embedding"][0] - 1)  # one position is the whole image's
    return ImageTowerConfig(
        width=width,
        layers=shapes.count(r"visual\.transformer\.resblocks\.(\d+)\."),
        head_width=layout.image_head_width,
        patch_size=patch,
        image_size=side * patch,
        mlp_ratio=shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0] / width,
    )


def text_tower_config(tensors: Mapping[str, Tensor], layout: PublishedLayout) -> TextTowerConfig:
    shapes = Shapes(tensors, "CLIP text tower")
    vocabulary, width = shapes["token_embedding.weight"]
    return TextTowerConfig(
        width=width,
        layers=shapes.count(r"transformer\.resblocks\.(\d+)\."),
        heads=width // layout.text_head_width,
        vocab_size=vocabulary,
        context_length=shapes["positional_embedding"][0],
    )


def projector_config(tensors: Mapping[str, Tensor], layout: PublishedLayout) -> ResamplerConfig:
    shapes = Shapes(tensors, "image projector")
    _, queries, dim = shapes["latents"]
    return ResamplerConfig(
        dim=dim,
        depth=shapes.count(r"layers\.(\d+)\."),
        dim_head=layout.projector_head_width,
        heads=shapes["layers.0.0.to_q.weight"][0] // layout.projector_head_width,
        num_queries=queries // layout.video_length,
        embedding_dim=shapes["proj_in.weight"][1],
        output_dim=shapes["proj_out.weight"][0],
        ff_mult=shapes["layers.0.1.1.weight"][0] // dim,
        video_length=layout.video_length,
    )


def action_spec(tensors: Mapping[str, Tensor], given: ActionSpec | None) -> ActionSpec:
    """The action space: ``given``, checked against the network's tensors, or an unbounded one of their size.

    Raises:
        ValueError: the network takes other actions than ``given``, or none and nothing is given.
    """
    shapes = Shapes(tensors, "network")
    if "action_emb_preprocess.weight" in shapes:
        rows = shapes["action_emb_preprocess.weight"][0]
        own = ActionSpec("multi_binary", (rows,), dtype="int8")
        fits = given is None or (given.size if given.kind == "multi_binary" else sum(given.nvec)) == rows
        takes = f"{rows} binary values, or choices with {rows} options in all"
    elif "action_emb_proj.0.weight" in shapes:
        size = shapes["action_emb_proj.0.weight"][1]
        own = ActionSpec("box", (size,), (-math.inf,) * size, (math.inf,) * size)
        fits = given is None or (given.kind == "box" and given.size == size)
        takes = f"{size} real numbers"
    elif given is None:
        raise ValueError("a model without actions (DynamiCrafter): say which it shall have, actions=ActionSpec(...)")
    else:
        return given
    if not fits:
        raise ValueError(
            f"actions: the checkpoint's network takes {takes}, got {given}; leave `actions` out or correct it"
        )
    return given or own
