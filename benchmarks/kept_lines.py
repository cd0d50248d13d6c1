"""Results of a long run as they come, a line of JSON each, so that a run that is stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class KeptLines:
    """Lines kept in `folder` under a name that says what they depend on.

    Args:
        name: what the file's name begins with.
        identity: everything that decides what the lines say; it is the file's first line.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.jsonl"
        self.lines: list[dict[str, Any]] = []
        if self.path.exists():
            whole, _, torn = self.path.read_text().rpartition("\n")
            self.lines = [json.loads(line) for line in whole.splitlines()[1:]]
            if torn:  # it was being written when the run was stopped: that result is made again
                self.path.write_text(whole + "\n")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text + "\n")

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
