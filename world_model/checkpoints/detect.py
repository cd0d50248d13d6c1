"""Say what a checkpoint is from the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from world_model.checkpoints.read import Format, MappedTensors, read

Kind = Literal["vid2world", "dynamicrafter", "bundle"]
NETWORK = "model.diffusion_model."


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        kind: ``vid2world`` (causal, with actions), ``dynamicrafter`` (sees the future, no actions), or our ``bundle``.
        format: what wrote the file.
        tensors: by name, without the prefixes of wrappers; on disk until they are read.
        path: the file, or the bundle's folder.
    """

    kind: Kind
    format: Format
    tensors: MappedTensors
    path: Path


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a file or folder and say what it is.

    Raises:
        ValueError: saying what it looks like, what was expected, and what to do.
    """
    form, tensors, place = read(path)
    if form == "bundle":
        return Checkpoint("bundle", form, tensors, place)
    try:
        return Checkpoint(kind_of(tensors), form, tensors, place)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def kind_of(names: Iterable[str]) -> Literal["vid2world", "dynamicrafter"]:
    """Which of the two published layouts tensors with these names have.

    Raises:
        ValueError: neither; says what the names look like.
    """
    names = list(names)
    network = [name for name in names if name.startswith(NETWORK)]
    temporal = [name for name in network if ".temopral_conv." in name]  # spelt so in all published files
    if not temporal:
        raise ValueError(f"{_looks(names, bool(network))}; expected a Vid2World or DynamiCrafter checkpoint")
    renamed = {".conv3d." in name for name in temporal if _is_kernel(name)}
    renamed |= {".conv2d." in name for name in network if name.startswith(f"{NETWORK}out.2.")}
    if len(renamed) > 1:
        raise ValueError(
            "its temporal layers are partly causal (conv3d, conv2d) and partly not: neither a Vid2World nor a "
            "DynamiCrafter checkpoint; it was converted halfway"
        )
    return "vid2world" if renamed == {True} else "dynamicrafter"


def _is_kernel(name: str) -> bool:
    """Whether a tensor of a temporal stack belongs to a convolution, which is its last layer (number 2 or 3)."""
    return name.split(".temopral_conv.")[1].split(".")[1] in ("2", "3")


def _looks(names: list[str], has_network: bool) -> str:
    if has_network:
        return "an image diffusion model (such as Stable Diffusion), its network has no temporal layers"
    if any(name.startswith(("input_blocks.", "first_stage_model.", "encoder.")) for name in names):
        return f"only a part of a video model (names such as {names[:2]}), without {NETWORK}*"
    return f"tensors of another model (names such as {names[:3]})"
