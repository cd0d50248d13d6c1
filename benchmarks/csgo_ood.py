"""50 frames from pictures of games never seen in training (figure 18).

    python -m benchmarks.csgo_ood checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.csgo_ood device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class OutOfDistributionConfig(ProtocolConfig):
    """Settings of the evaluation: games never seen in training."""

    checkpoint: str = "thuml/Vid2World-CSGO"
    dataset: str = "runs/data/unseen_games"
    out: str = "runs/eval/csgo_ood"


def main(config: OutOfDistributionConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("csgo_ood", config)


if __name__ == "__main__":
    run("csgo_ood", OutOfDistributionConfig, main)
