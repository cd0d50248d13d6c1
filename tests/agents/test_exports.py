"""The names of the package."""

from __future__ import annotations

import pytest

import agents


@pytest.mark.parametrize("name", agents.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    found = getattr(agents, name)
    assert found.__module__.startswith("agents.") and found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'agents' has no attribute 'Polcy'"):
        _ = agents.Polcy  # type: ignore[attr-defined]
