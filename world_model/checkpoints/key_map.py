"""Names of the published checkpoints' network tensors, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# (their pattern, our replacement), applied in order to every key; their numbering of blocks counts the stem as 0.
RULES: tuple[tuple[str, str], ...] = (
    (r"^(time_embed|fps_embedding)\.(\d)\.", r"\1.mlp.\2."),
    (r"^fps_embedding\.", "fps_embed."),
    (r"^action_emb_preprocess\.weight$", "action_embed.table"),
    (r"^action_emb_proj\.", "action_embed.mlp."),
    (r"^input_blocks\.0\.0\.", "stem."),
    (r"^init_attn\.0\.", "init_attention."),
    (r"^out\.0\.", "norm_out."),
    (r"^out\.2\.(conv2d\.)?", "conv_out."),
    (r"\.in_layers\.0\.", ".norm_in."),
    (r"\.in_layers\.2\.", ".conv_in."),
    (r"\.emb_layers\.1\.", ".embed."),
    (r"\.out_layers\.0\.", ".norm_out."),
    (r"\.out_layers\.3\.", ".conv_out."),
    (r"\.skip_connection\.", ".skip."),
    (r"\.op\.", ".conv."),
    (r"\.temopral_conv\.conv(\d)\.0\.", r".temporal.norms.\1."),
    (r"\.temopral_conv\.conv(\d)\.[23]\.(conv3d\.)?", r".temporal.convs.\1."),
    (r"\.ff\.net\.0\.proj\.", ".feed_forward.proj_in."),
    (r"\.ff\.net\.2\.", ".feed_forward.proj_out."),
    (r"\.to_out\.0\.", ".to_out."),
    (r"\.to_([kv])_ip\.", r".to_\1_image."),
)


def network_key(key: str, *, is_temporal: bool) -> str:
    """Our name of one of their tensors; ``is_temporal`` tells the two kinds of transformer apart."""
    for pattern, replacement in RULES:
        key = re.sub(pattern, replacement, key)
    key = re.sub(r"^input_blocks\.(\d+)", lambda m: f"input_blocks.{int(m[1]) - 1}", key)
    key = re.sub(r"\.(norms|convs)\.(\d)\.", lambda m: f".{m[1]}.{int(m[2]) - 1}.", key)
    first, second = ("attention1", "attention2") if is_temporal else ("attention", "context_attention")
    return (
        key.replace("transformer_blocks.0.attn1", first)
        .replace("transformer_blocks.0.attn2", second)
        .replace("transformer_blocks.0.", "")
    )


def map_network(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape a published network's tensors (keys without the ``model.diffusion_model.`` prefix)."""
    # Only spatial transformers have image keys in their second attention.
    spatial = {key.split(".transformer_blocks")[0] for key in tensors if "to_k_ip" in key}
    ours = {}
    for key, tensor in tensors.items():
        ours[network_key(key, is_temporal=key.split(".transformer_blocks")[0] not in spatial)] = _reshape(key, tensor)
    if len(ours) != len(tensors):
        raise ValueError(f"key map: {len(tensors)} tensors map onto only {len(ours)} names")
    return ours


def _reshape(key: str, tensor: Tensor) -> Tensor:
    if "temopral_conv" in key and tensor.ndim == 5:  # [out in taps 1 1] -> [out taps in]
        return tensor[..., 0, 0].transpose(1, 2)
    if key.endswith(("proj_in.weight", "proj_out.weight")) and tensor.ndim == 3:  # Conv1d with kernel 1 -> Linear
        return tensor[..., 0]
    return tensor
