"""The published model on Counter-Strike, frame by frame (Table 1); with random_actions, Table 4 as well.

    python -m benchmarks.csgo checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.csgo device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class CSGOConfig(ProtocolConfig):
    """Settings of the evaluation: Counter-Strike, frame by frame."""

    checkpoint: str = "thuml/Vid2World-CSGO"
    dataset: str = "runs/data/csgo"
    out: str = "runs/eval/csgo"


def main(config: CSGOConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("csgo", config)


if __name__ == "__main__":
    run("csgo", CSGOConfig, main)
