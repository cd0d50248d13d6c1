"""Names of latent diffusion's autoencoder, and those of our `Autoencoder`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from world_model.checkpoints.renaming import Rules, rename

LATENT_SCALE = 0.18215  # what all published models multiply the autoencoder's latents with

_BLOCK = r"(norm1|conv1|norm2|conv2)\.(\w+)"
RULES: Rules = (
    (r"(quant_conv|post_quant_conv)\.(\w+)", r"vae.\1.\2"),
    (r"(encoder|decoder)\.(conv_in|conv_out)\.(\w+)", r"vae.\1.\2.\3"),
    (r"(encoder|decoder)\.norm_out\.(\w+)", r"vae.\1.conv_norm_out.\2"),
    (rf"(encoder|decoder)\.mid\.block_1\.{_BLOCK}", r"vae.\1.mid_block.resnets.0.\2.\3"),
    (rf"(encoder|decoder)\.mid\.block_2\.{_BLOCK}", r"vae.\1.mid_block.resnets.1.\2.\3"),
    (r"(encoder|decoder)\.mid\.attn_1\.norm\.(\w+)", r"vae.\1.mid_block.attentions.0.group_norm.\2"),
    (r"(encoder|decoder)\.mid\.attn_1\.([qkv])\.(\w+)", r"vae.\1.mid_block.attentions.0.to_\2.\3"),
    (r"(encoder|decoder)\.mid\.attn_1\.proj_out\.(\w+)", r"vae.\1.mid_block.attentions.0.to_out.0.\2"),
    (rf"(encoder|decoder)\.(down|up)\.(\d+)\.block\.(\d+)\.{_BLOCK}", r"vae.\1.\2_blocks.\3.resnets.\4.\5.\6"),
    (
        r"(encoder|decoder)\.(down|up)\.(\d+)\.block\.(\d+)\.nin_shortcut\.(\w+)",
        r"vae.\1.\2_blocks.\3.resnets.\4.conv_shortcut.\5",
    ),
    (r"(encoder|decoder)\.(down|up)\.(\d+)\.((?:down|up)sample)\.conv\.(\w+)", r"vae.\1.\2_blocks.\3.\4rs.0.conv.\5"),
)


def map_autoencoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of an `Autoencoder(AutoencoderConfig(..., patch_size=1, quant_conv=True))`.

    Args:
        tensors: names without the `first_stage_model.` prefix. All are used.

    Returns:
        Them under our names, and the latent statistics that stand for the published latent scale.

    Raises:
        ValueError: an unknown name, or no tensors of an autoencoder at all.
    """
    if "decoder.conv_in.weight" not in tensors:
        raise ValueError(
            f"autoencoder: expected decoder.conv_in.weight among its {len(tensors)} tensors; the file has no "
            "autoencoder, or its prefix was not removed"
        )
    ours = rename(_coarsest_first(tensors), RULES, "autoencoder")
    for name, tensor in ours.items():
        if ".attentions." in name and tensor.ndim == 4:  # convolution of kernel 1 -> Linear
            ours[name] = tensor[:, :, 0, 0]
    channels = tensors["decoder.conv_in.weight"].shape[1]
    return ours | {
        "latent_mean": torch.zeros(channels),
        "latent_std": torch.full((channels,), 1 / LATENT_SCALE),
    }


def _coarsest_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Number the decoder's resolutions in the order they are run through; theirs count from the finest."""
    levels = 1 + max((int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up.")), default=0)

    def renumbered(name: str) -> str:
        if not name.startswith("decoder.up."):
            return name
        decoder, up, level, rest = name.split(".", 3)
        return f"{decoder}.{up}.{levels - 1 - int(level)}.{rest}"

    return {renumbered(name): tensor for name, tensor in tensors.items()}
