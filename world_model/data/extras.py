"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, what: str, extra: str = "data") -> Any:
    """The imported `module`.

    Raises:
        ImportError: if it is not installed; says what needs it and which extra of this package brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {module}: pip install 'vid2world-gym[{extra}]'") from error
