"""One start of RT-1 under six constant actions: do the films differ as they should (figure 20)?

    python -m benchmarks.rt1_action_control checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.rt1_action_control device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class ActionControlConfig(ProtocolConfig):
    """Settings of the evaluation: RT-1 under six constant actions."""

    checkpoint: str = "thuml/Vid2World-RT1"
    dataset: str = "runs/data/rt1"
    out: str = "runs/eval/rt1_action_control"


def main(config: ActionControlConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("rt1_action_control", config)


if __name__ == "__main__":
    run("rt1_action_control", ActionControlConfig, main)
