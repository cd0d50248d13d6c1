"""Published checkpoints, Vid2World's and DynamiCrafter's, as world models.

First a plan, made from names and shapes alone (`plan.py`). Then the tensors, converted one by one while the file stays
on disk, so that memory holds the new model and little else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from world_model.checkpoints.assemble import compare, fill, own, shapes_of, skeleton, type_of, without_weights
from world_model.checkpoints.detect import Checkpoint, open_checkpoint
from world_model.checkpoints.plan import (
    CAPTION,
    SCHEDULE,
    Plan,
    PublishedOptions,
    Tensors,
    check,
    make_plan,
    map_tensors,
    map_text,
    new_action_embedding,
)
from world_model.checkpoints.read import portions
from world_model.checkpoints.transfer import convert_tensor
from world_model.conditioning.clip import TextTower, TextTowerConfig, empty_caption_ids
from world_model.diffusion.schedule import Schedule
from world_model.model import WorldModel

VOCABULARY = 49408  # CLIP's


def load_published(
    path: str | Path,
    options: PublishedOptions | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> WorldModel:
    """A world model from a Vid2World or DynamiCrafter checkpoint of any format and size.

    Args:
        path: a file, or a folder with one checkpoint in it.
        options: what it does not say of itself.
        dtype: of the weights; the file's may be another.
        device: where they go, one tensor at a time.

    Returns:
        the model in evaluation mode, with gradients of its weights off.

    Raises:
        ValueError: not such a checkpoint (says what it looks like), tensors missing, unknown or of a wrong shape,
            or actions that do not fit.
    """
    checkpoint = open_checkpoint(path)
    plan, model = prepare(checkpoint, options)
    return fill(model, stream(checkpoint, plan, dtype, device))


def prepare(checkpoint: Checkpoint, options: PublishedOptions | None = None) -> tuple[Plan, WorldModel]:
    """The plan for a checkpoint and the skeleton of its model, which have been checked against each other."""
    if checkpoint.kind == "bundle":
        raise ValueError(f"{checkpoint.path} is a world model already; WorldModel.from_pretrained reads it")
    options = options or PublishedOptions()
    try:
        plan = make_plan(checkpoint.tensors, replace(options, name=options.name or checkpoint.path.stem))
        model = skeleton(plan.config)
        check(plan, model)
        compare(shapes_of(_text_tower(plan.text).state_dict()), shapes_of(map_text(checkpoint.tensors)))
        _check_schedule(checkpoint.tensors)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from error
    return plan, model


def stream(
    checkpoint: Checkpoint, plan: Plan, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Iterator[tuple[str, Tensor]]:
    """All tensors of the model under our names, each a copy of its own; the file's memory is given back on the way."""
    source = checkpoint.tensors
    yield CAPTION, own(_caption(source, plan.text), dtype, device)
    source.release()
    if plan.initialised:
        for name, tensor in new_action_embedding(plan.config).items():
            yield name, own(tensor, dtype, device)
    for names in portions(map_tensors(source)):
        mapped = map_tensors(source)
        for name in names:
            tensor = mapped[name]
            if plan.transfer is not None and name.startswith("network."):
                ours = name.removeprefix("network.")
                tensor = convert_tensor(ours, tensor, plan.transfer, output_conv=plan.config.network.output_conv)
            yield name, own(tensor, type_of(name, dtype), device)
        del mapped, tensor
        source.release()


# -- helpers


def _caption(source: Tensors, config: TextTowerConfig) -> Tensor:
    """The empty caption's tokens ``[text_tokens d]``, computed in float32 by a tower that is dropped again."""
    tower = _text_tower(config)
    state = {name: own(tensor, torch.float32) for name, tensor in map_text(source).items()}
    tower.load_state_dict(state, strict=True, assign=True)
    ids = empty_caption_ids(config.context_length)
    ids[ids > 0] += config.vocab_size - VOCABULARY  # start and end are the last two of any vocabulary
    with torch.no_grad():
        return tower(ids)[0]


def _text_tower(config: TextTowerConfig) -> TextTower:
    with without_weights():
        return TextTower(config).eval()


def _check_schedule(tensors: Tensors) -> None:
    """That the model was trained with the noise schedule we compute."""
    ours = Schedule(SCHEDULE)
    for name, table in (("alphas_cumprod", ours.alphas_cumprod), ("scale_arr", ours.scale)):
        if name not in tensors:
            continue
        theirs = tensors[name].double()
        count = min(len(theirs), len(table))
        if count < len(table) or float((theirs[:count] - torch.from_numpy(table)[:count]).abs().max()) > 2e-3:
            raise ValueError(
                f"its noise schedule ({name}) is another than that of the 320x512 models; other models of the family "
                "are not supported"
            )
