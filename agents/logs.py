"""Where training writes what it measures: CSV and TensorBoard, both of which a resumed run continues."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat

from world_model.bundle import Replacing

STEP = "time/total_timesteps"


def make_logger(folder: Path, step: int) -> Logger:
    """SB3's logger into ``progress.csv`` and ``tensorboard/``; what they hold from beyond ``step`` is dropped."""
    return Logger(str(folder), [CsvLog(folder / "progress.csv", step), _TensorBoard(folder / "tensorboard", step)])


class CsvLog(KVWriter):
    """One row per record; new columns may appear at any time."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        rows = [row for row in self._rows() if int(row[STEP]) <= step]
        self._columns = list(dict.fromkeys(key for row in rows for key in row))
        self._rewrite(rows)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        row = {key: value for key, value in key_values.items() if isinstance(value, np.ScalarType)}
        row[STEP] = step
        new = [key for key in row if key not in self._columns]
        if new:
            self._columns += sorted(new)
            self._rewrite(self._rows())
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def close(self) -> None:
        pass

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            # A kill can leave half a row at the end.
            return [row for row in csv.DictReader(file) if row.get(STEP) and None not in row.values()]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with Replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class JsonLines:
    """A file of one JSON object per line, each with its ``step``; objects from beyond a step can be dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.entries = [entry for entry in self._read() if entry["step"] <= step]
        with Replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries))

    def append(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:  # a kill can leave half a line at the end
                break
        return entries


class _TensorBoard(TensorBoardOutputFormat):
    """SB3's, which also tells TensorBoard to forget what a killed run wrote beyond the step it resumes from."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(log_dir=str(folder), purge_step=step + 1 if step else None)
        self._is_closed = False
