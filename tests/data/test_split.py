"""The split: by episode, drawn once, never again in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from world_model.data import recorded_split, split_episodes


@pytest.mark.parametrize("count", [3, 7, 40, 700])
def test_parts_cover_all_episodes_once(count: int) -> None:
    split = split_episodes(range(count), seed=1)
    assert sorted(split["train"] + split["validation"] + split["test"]) == list(range(count))
    assert all(split.values())
    assert split == split_episodes(range(count), seed=1)


def test_fractions() -> None:
    split = split_episodes(range(100), fractions={"train": 0.7, "validation": 0.2, "test": 0.1})
    assert [len(part) for part in split.values()] == [70, 20, 10]
    assert split_episodes(range(2), fractions={"train": 0.5, "test": 0.5})["validation"] == []
    assert split_episodes(range(50), seed=0) != split_episodes(range(50), seed=1)


@pytest.mark.parametrize(
    ("ids", "fractions", "message"),
    [
        (range(2), None, "cannot split 2 episodes"),
        (range(9), {"train": 0.9, "test": 0.2}, "sum to 1"),
        (range(9), {"train": 0.9, "tests": 0.1}, "shares of"),
        (range(9), {"train": 1.5, "test": -0.5}, "shares of"),
        ([1, 1, 2, 3], None, "repeated ids"),
    ],
)
def test_bad_input(ids: list[int], fractions: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_episodes(ids, fractions=fractions)


def test_recorded_split_is_read_back_whatever_the_seed(tmp_path: Path) -> None:
    first = recorded_split(tmp_path, range(20), seed=0)
    assert recorded_split(tmp_path, range(20), seed=5, fractions={"train": 0.5, "test": 0.5}) == first


def test_new_episodes_join_training_only_when_asked(tmp_path: Path) -> None:
    first = recorded_split(tmp_path, range(20))
    with pytest.raises(ValueError, match=r"covers 20 episodes, the dataset has 25.*extend_split=True"):
        recorded_split(tmp_path, range(25))
    grown = recorded_split(tmp_path, range(25), extend=True)
    assert grown["train"] == sorted(first["train"] + list(range(20, 25)))
    assert grown["validation"] == first["validation"] and grown["test"] == first["test"]
    assert recorded_split(tmp_path, range(25)) == grown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "could not read it"),
        ('{"train": [0]}', "could not read it"),
        ('{"train": [0, 1], "validation": [1], "test": [2]}', "in two parts"),
        ('{"train": [0, 9], "validation": [1], "test": [2]}', "does not have"),
    ],
)
def test_damaged_or_foreign_split_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ValueError, match=rf"split\.json.*{message}"):
        recorded_split(tmp_path, range(3))
    assert (tmp_path / "split.json").read_text() == content
