"""Checks of settings: each raises :class:`ValueError` that names the setting, what was expected and what came."""

from __future__ import annotations


def at_least(name: str, value: float, lowest: float) -> None:
    """Raise :class:`ValueError` below ``lowest``."""
    if not value >= lowest:
        raise ValueError(f"{name}: expected {lowest} or more, got {value}")


def above(name: str, value: float, bound: float) -> None:
    """Raise :class:`ValueError` unless ``value`` is above ``bound``."""
    if not value > bound:
        raise ValueError(f"{name}: expected a number above {bound}, got {value}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise :class:`ValueError` outside ``low`` to ``high``."""
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {low} to {high}, got {value}")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`ValueError` for anything but one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
