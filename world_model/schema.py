"""Turn a plain dictionary into a (frozen, possibly nested) dataclass, checking names and types on the way."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def build(schema: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass ``schema`` with ``values``; fields that are not named keep their defaults.

    Args:
        schema: a dataclass; fields may be scalars, ``Path``, ``Literal``, enums, optionals, tuples, lists,
            dictionaries and dataclasses.
        values: plain Python values, as read from YAML.
        where: prefix for names in error messages, such as ``"train."``.

    Raises:
        ValueError: unknown field (names the nearest), missing field, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(cast(Any, schema)) if field.init}
    hints = get_type_hints(schema)
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            hint = f" Did you mean {where + near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {where + name!r}.{hint} There is: {', '.join(fields)}.")
    missing = [
        where + name
        for name, field in fields.items()
        if name not in values and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    return schema(**{name: _convert(hints[name], value, where + name) for name, value in values.items()})


def _convert(hint: Any, value: Any, path: str) -> Any:
    """``value`` as ``hint`` asks for, or a ValueError that names ``path``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or type(value) is hint:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(hint, arguments, value, path)
    if origin is Literal:
        if value in arguments:
            return value
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(cast(type, hint), value, f"{path}.")
    elif (origin or hint) in (tuple, list) and isinstance(value, (list, tuple)):
        return _convert_sequence(origin or hint, arguments, value, path)
    elif (origin or hint) in (dict, Mapping) or str(origin).endswith("Mapping'>"):
        if isinstance(value, Mapping):
            inner = arguments[1] if arguments else Any
            return {key: _convert(inner, item, f"{path}.{key}") for key, item in value.items()}
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is int and type(value) is float and value.is_integer():
        return int(value)
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif isinstance(hint, type) and issubclass(hint, Enum) and value in [member.value for member in hint]:
        return hint(value)
    raise ValueError(f"{path}: expected {_name(hint)}, got {value!r} ({type(value).__name__})")


def _convert_union(hint: Any, members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in members:
        return None
    for member in sorted(members, key=lambda member: type(value) is not member):  # an exact match first
        try:
            return _convert(member, value, path)
        except ValueError:
            if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
                raise
    raise ValueError(f"{path}: expected {_name(hint)}, got {value!r} ({type(value).__name__})")


def _convert_sequence(kind: type, arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis and len(arguments) != len(value):
        raise ValueError(f"{path}: expected {len(arguments)} values, got {len(value)}: {value!r}")
    fixed = kind is tuple and arguments and arguments[-1] is not Ellipsis
    inner = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
    return kind(_convert(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(zip(inner, value, strict=True)))


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(repr(member.value) for member in hint)
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
