"""Declarative key maps: a table of (their name, our name), applied to every tensor of a part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# (a pattern for their whole name, our name with \1, \2 for the groups); the first that matches counts.
Rules = tuple[tuple[str, str], ...]


def rename(tensors: Mapping[str, Tensor], rules: Rules, part: str) -> dict[str, Tensor]:
    """The tensors under our names.

    Args:
        tensors: by their names.
        rules: one of them must match each name.
        part: what the tensors belong to, for error messages.

    Raises:
        ValueError: a name that no rule knows, or two that would become one.
    """
    ours: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in tensors.items():
        match = next(((m, to) for pattern, to in rules if (m := re.fullmatch(pattern, name))), None)
        if match is None:
            unknown.append(name)
            continue
        our_name = match[0].expand(match[1])
        if our_name in ours:
            raise ValueError(f"{part}: two tensors map onto {our_name}, the second is {name}")
        ours[our_name] = tensor
    if unknown:
        raise ValueError(
            f"{part}: {len(unknown)} of {len(tensors)} tensors have unknown names, first {sorted(unknown)[:3]}; the "
            "file is of another model, or the prefix of this part was not removed"
        )
    return ours


def matching(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """Those of `names` that one of `patterns` matches as a whole."""
    whole = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return {name for name in names if whole.fullmatch(name)}
