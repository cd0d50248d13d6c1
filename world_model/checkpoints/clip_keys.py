"""Names of open_clip's two towers, and those of our `ImageTower` and `TextTower`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from world_model.checkpoints.renaming import Rules, matching, rename

# Deliberately unused, as patterns: the video model reads tokens, so everything from the pooled token on has no part in
# it, and a checkpoint keeps some tensors of the text tower with the image tower too.
IMAGE_UNUSED = (
    r"visual\.ln_post\.\w+",
    r"visual\.proj",
    r"logit_scale",
    r"text_projection",
    r"positional_embedding",
    r"token_embedding\.weight",
    r"ln_final\.\w+",
    r"transformer\.resblocks\..+",
)
TEXT_UNUSED = (r"logit_scale", r"text_projection", r"visual\..+")  # and the last block: `unused_by_text_tower`


def _block_rules(transformer: str) -> Rules:
    theirs, ours = transformer + r"\.resblocks\.(\d+)\.", r"transformer.encoder.layers.\1."
    return (
        (theirs + r"ln_([12])\.(\w+)", ours + r"layer_norm\2.\3"),
        (theirs + r"attn\.(q|k|v|out)_proj\.(\w+)", ours + r"self_attn.\2_proj.\3"),
        (theirs + r"mlp\.c_fc\.(\w+)", ours + r"mlp.fc1.\2"),
        (theirs + r"mlp\.c_proj\.(\w+)", ours + r"mlp.fc2.\2"),
    )


IMAGE_RULES: Rules = (
    (r"visual\.class_embedding", "transformer.embeddings.class_embedding"),
    (r"visual\.positional_embedding", "transformer.embeddings.position_embedding.weight"),
    (r"visual\.conv1\.weight", "transformer.embeddings.patch_embedding.weight"),
    (r"visual\.ln_pre\.(\w+)", r"transformer.pre_layrnorm.\1"),  # spelt so in transformers
    *_block_rules(r"visual\.transformer"),
)
TEXT_RULES: Rules = (
    (r"token_embedding\.weight", "transformer.embeddings.token_embedding.weight"),
    (r"positional_embedding", "transformer.embeddings.position_embedding.weight"),
    (r"ln_final\.(\w+)", r"transformer.final_layer_norm.\1"),
    *_block_rules("transformer"),
)


def map_image_tower(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of an `ImageTower`, from names without the `embedder.model.` prefix.

    Raises:
        ValueError: a name that is neither mapped nor in `unused_by_image_tower`.
    """
    unused = unused_by_image_tower(tensors)
    used = {name: tensor for name, tensor in tensors.items() if name not in unused}
    return rename(_split_attention(used), IMAGE_RULES, "CLIP image tower")


def map_text_tower(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a `TextTower`, from names without the `cond_stage_model.model.` prefix.

    Raises:
        ValueError: a name that is neither mapped nor in `unused_by_text_tower`.
    """
    unused = unused_by_text_tower(tensors)
    used = {name: tensor for name, tensor in tensors.items() if name not in unused}
    return rename(_split_attention(used), TEXT_RULES, "CLIP text tower")


def unused_by_image_tower(names: Iterable[str]) -> set[str]:
    """Those of open_clip's `names` that the image tower leaves out on purpose."""
    return matching(names, IMAGE_UNUSED)


def unused_by_text_tower(names: Iterable[str]) -> set[str]:
    """Those of open_clip's `names` that the text tower leaves out on purpose, all of the last block among them."""
    names = list(names)
    blocks = [int(m[1]) for name in names if (m := re.match(r"transformer\.resblocks\.(\d+)\.", name))]
    last = (rf"transformer\.resblocks\.{max(blocks)}\..+",) if blocks else ()
    return matching(names, TEXT_UNUSED + last)


def _split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One tensor each for queries, keys and values, which open_clip stacks in this order."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"(.+\.attn\.)in_proj_(weight|bias)", name):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                split[f"{match[1]}{part}_proj.{match[2]}"] = rows
        else:
            split[name] = tensor
    return split
