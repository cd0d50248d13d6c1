"""100 frames of Counter-Strike from nine, the network seeing the last nine (figure 17).

    python -m benchmarks.csgo_long_rollout checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.csgo_long_rollout device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class LongRolloutConfig(ProtocolConfig):
    """Settings of the evaluation: Counter-Strike, 100 frames."""

    checkpoint: str = "thuml/Vid2World-CSGO"
    dataset: str = "runs/data/csgo"
    out: str = "runs/eval/csgo_long_rollout"


def main(config: LongRolloutConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("csgo_long_rollout", config)


if __name__ == "__main__":
    run("csgo_long_rollout", LongRolloutConfig, main)
