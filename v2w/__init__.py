"""Video diffusion world models as Gymnasium environments: the public names, imported when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gymnasium import make, make_vec

    from world_model.model import WorldModel
    from world_model.types import ActionSpec, WorldState

__version__ = "0.1.0"
__all__ = ["ActionSpec", "WorldModel", "WorldState", "make", "make_vec"]

_HOME = {
    "ActionSpec": "world_model.types",
    "WorldModel": "world_model.model",
    "WorldState": "world_model.types",
    "make": "gymnasium",
    "make_vec": "gymnasium",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'v2w' has no attribute {name!r}; it has {', '.join(__all__)}")
    if name.startswith("make"):
        importlib.import_module("v2w_env")  # registers the environments
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
