"""The published model on RT-1, all frames of a clip together (Table 1, Vid2World-NAR).

    python -m benchmarks.rt1_nar checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.rt1_nar device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class RT1NARConfig(ProtocolConfig):
    """Settings of the evaluation: RT-1, all frames together."""

    checkpoint: str = "thuml/Vid2World-RT1"
    dataset: str = "runs/data/rt1"
    out: str = "runs/eval/rt1_nar"


def main(config: RT1NARConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("rt1_nar", config)


if __name__ == "__main__":
    run("rt1_nar", RT1NARConfig, main)
