"""Names of the published image projector, and those of our `Resampler`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from world_model.checkpoints.renaming import Rules, rename

RULES: Rules = (
    (r"latents", "queries"),
    (r"(proj_in|proj_out|norm_out)\.(\w+)", r"\1.\2"),
    (r"layers\.(\d+)\.0\.norm1\.(\w+)", r"layers.\1.attention.norm_tokens.\2"),
    (r"layers\.(\d+)\.0\.norm2\.(\w+)", r"layers.\1.attention.norm_queries.\2"),
    (r"layers\.(\d+)\.0\.(to_q|to_kv|to_out)\.weight", r"layers.\1.attention.\2.weight"),
    (r"layers\.(\d+)\.1\.0\.(\w+)", r"layers.\1.feed_forward.norm.\2"),
    (r"layers\.(\d+)\.1\.1\.weight", r"layers.\1.feed_forward.proj_in.weight"),
    (r"layers\.(\d+)\.1\.3\.weight", r"layers.\1.feed_forward.proj_out.weight"),
)


def map_image_projector(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a `Resampler`, from names without the `image_proj_model.` prefix. All are used.

    Raises:
        ValueError: an unknown name.
    """
    ours = rename(tensors, RULES, "image projector")
    if "queries" in ours:
        ours["queries"] = ours["queries"].squeeze(0)  # stored as a batch of one
    return ours
