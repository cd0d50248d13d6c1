"""Progress bars: often on a terminal, seldom in a file."""

from __future__ import annotations

import io
import sys

import pytest

from world_model.progress import SECONDS_IN_A_FILE, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stderr", "seconds"), [(io.StringIO(), SECONDS_IN_A_FILE), (Terminal(), 0.1)])
def test_how_often_it_moves(stderr: io.StringIO, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    bar = progress_bar(range(2000), "counting", "number")
    assert bar.mininterval == seconds and list(bar) == list(range(2000))
    assert "counting: 100%" in stderr.getvalue() and "2000/2000" in stderr.getvalue()
    if not stderr.isatty():
        assert stderr.getvalue().count("\r") < 5


def test_it_can_be_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(iter("abc"), "hidden", "letter", total=3, show=False)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
