"""What becomes of each tensor of a published checkpoint, decided from names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from world_model.checkpoints import sizes
from world_model.checkpoints.assemble import compare, shapes_of
from world_model.checkpoints.autoencoder_keys import map_autoencoder
from world_model.checkpoints.clip_keys import (
    map_image_tower,
    map_text_tower,
    unused_by_image_tower,
    unused_by_text_tower,
)
from world_model.checkpoints.detect import NETWORK, kind_of
from world_model.checkpoints.image_projector_keys import map_image_projector
from world_model.checkpoints.key_map import map_network
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.transfer import METHODS, TransferMethod
from world_model.conditioning.clip import TextTowerConfig
from world_model.conditioning.conditioner import ConditionerConfig
from world_model.diffusion.schedule import ScheduleConfig
from world_model.model import WorldModel, WorldModelConfig
from world_model.network.embedding import action_embedder
from world_model.types import ActionSpec

Tensors = Mapping[str, Tensor]
AUTOENCODER, TEXT = "first_stage_model.", "cond_stage_model.model."
IMAGE, PROJECTOR = "embedder.model.", "image_proj_model."
# (their prefix, our prefix, key map)
PARTS: tuple[tuple[str, str, Callable[[Tensors], dict[str, Tensor]]], ...] = (
    (NETWORK, "network.", map_network),
    (AUTOENCODER, "autoencoder.", map_autoencoder),
    (IMAGE, "conditioner.image_tower.", map_image_tower),
    (PROJECTOR, "conditioner.projector.", map_image_projector),
)
CAPTION, ACTION_EMBED = "conditioner.caption", "network.action_embed."
SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "scale_arr",
)
SCHEDULE = ScheduleConfig(base_scale=0.7, turning_step=400)


@dataclass(frozen=True)
class PublishedOptions:
    """What a published checkpoint does not say of itself.

    Attributes:
        actions: the action space; by default an unbounded one of the checkpoint's size. DynamiCrafter has none, so it
            must be given, and its embedding starts at random.
        transfer: how DynamiCrafter's temporal layers become causal.
        layout: what the tensors' shapes do not tell; by default that of the RT-1 model.
        name: of the model; by default the file's.
    """

    actions: ActionSpec | None = None
    transfer: TransferMethod = "extrapolative"
    layout: PublishedLayout | None = None
    name: str = ""


@dataclass(frozen=True)
class Plan:
    """What becomes of a checkpoint's tensors; each of their names is in exactly one of the first two tables.

    Attributes:
        config: of the world model.
        used: their name -> the part of the model it goes into.
        unused: their name -> why it is left out.
        shapes: our name -> shape, of the model that comes out.
        initialised: our names that no tensor stands for and that start at random: actions, after DynamiCrafter.
        text: the text tower, which is run once for the caption and not kept.
        transfer: how a network that sees the future is made causal; ``None`` where it is causal already.
    """

    config: WorldModelConfig
    used: Mapping[str, str]
    unused: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    initialised: tuple[str, ...]
    text: TextTowerConfig
    transfer: TransferMethod | None

    def summary(self) -> str:
        """One line per part and per reason for leaving tensors out."""
        groups: dict[str, int] = {}
        for label in (*self.used.values(), *(f"unused: {reason}" for reason in self.unused.values())):
            groups[label] = groups.get(label, 0) + 1
        lines = [f"{count:5} tensors  {label}" for label, count in groups.items()]
        if self.initialised:
            lines.append(f"{len(self.initialised):5} tensors  new, to be trained: {ACTION_EMBED}*")
        return "\n".join(lines)


def make_plan(tensors: Tensors, options: PublishedOptions | None = None) -> Plan:
    """What becomes of each tensor. Only names and shapes are looked at: tensors may be on ``meta``.

    Raises:
        ValueError: tensors of unknown names, sizes that cannot be read, or ``actions`` that do not fit.
    """
    options = options or PublishedOptions()
    if options.transfer not in METHODS:
        raise ValueError(f"transfer: expected one of {', '.join(METHODS)}, got {options.transfer!r}")
    layout = options.layout or PublishedLayout()
    kind = kind_of(tensors)
    used, unused = _sort(tensors)
    text = sizes.text_tower_config(_part(tensors, TEXT), layout)
    projector = sizes.projector_config(_part(tensors, PROJECTOR), layout)
    network = _part(tensors, NETWORK)
    config = WorldModelConfig(
        name=options.name or "published",
        actions=sizes.action_spec(network, options.actions),
        frame_size=layout.frame_size,
        context_frames=layout.context_frames,
        fps=float(layout.fps),
        dtype="bfloat16",
        network=sizes.network_config(network, layout, text.context_length, projector.num_queries),
        autoencoder=sizes.autoencoder_config(_part(tensors, AUTOENCODER), layout),
        conditioner=ConditionerConfig(
            sizes.image_tower_config(_part(tensors, IMAGE), layout), projector, text.context_length
        ),
        schedule=SCHEDULE,
        sampling=layout.sampling_config(),
    )
    shapes = shapes_of(map_tensors(tensors))
    shapes[CAPTION] = (text.context_length, text.width)
    new: dict[str, Tensor] = {}
    if kind == "dynamicrafter" and not any(ours.startswith(ACTION_EMBED) for ours in shapes):
        new = new_action_embedding(config)
        shapes |= shapes_of(new)
    transfer = options.transfer if kind == "dynamicrafter" else None
    return Plan(config, used, unused, shapes, tuple(new), text, transfer)


def check(plan: Plan, model: WorldModel) -> None:
    """That the planned tensors are exactly the model's.

    Raises:
        ValueError: naming the first that are missing, unknown or of another shape.
    """
    compare(shapes_of(model.state_dict()), plan.shapes)


def map_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """All tensors that are kept, under our names: views, nothing is read."""
    ours: dict[str, Tensor] = {}
    for prefix, our_prefix, map_part in PARTS:
        mapped = map_part(_part(tensors, prefix))
        ours |= {our_prefix + name: tensor for name, tensor in mapped.items()}
    return ours


def map_text(tensors: Tensors) -> dict[str, Tensor]:
    """The text tower's tensors under our names."""
    return map_text_tower(_part(tensors, TEXT))


def new_action_embedding(config: WorldModelConfig) -> dict[str, Tensor]:
    """Fresh weights of the action embedding, always the same."""
    channels = config.network.model_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedder = action_embedder(config.actions, channels, 4 * channels, config.network.action_frequencies)
    return {ACTION_EMBED + name: tensor for name, tensor in embedder.state_dict().items()}


def _part(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors of one part, without its prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _sort(tensors: Tensors) -> tuple[dict[str, str], dict[str, str]]:
    """Their names, used (and for what) and unused (and why).

    Raises:
        ValueError: a name that belongs to no part.
    """
    image, text = _part(tensors, IMAGE), _part(tensors, TEXT)
    unused = dict.fromkeys(
        (IMAGE + name for name in unused_by_image_tower(image)), "CLIP image tower, after its tokens"
    )
    unused |= dict.fromkeys((TEXT + name for name in unused_by_text_tower(text)), "CLIP text tower, after its tokens")
    unused |= dict.fromkeys((name for name in SCHEDULE_BUFFERS if name in tensors), "noise schedule, computed again")
    parts = {prefix: ours.rstrip(".") for prefix, ours, _ in PARTS} | {TEXT: f"{CAPTION} (run once, not kept)"}
    used, unknown = {}, []
    for name in tensors:
        if name in unused:
            continue
        part = next((ours for prefix, ours in parts.items() if name.startswith(prefix)), None)
        if part is None:
            unknown.append(name)
        else:
            used[name] = part
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors belong to no part of a published model, first {sorted(unknown)[:3]}; expected "
            f"names that begin with {', '.join(parts)}; remove them if they belong to something else"
        )
    return used, {name: unused[name] for name in tensors if name in unused}
