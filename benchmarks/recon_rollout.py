"""The published model on RECON, the frames one, two and four seconds ahead (figure 6).

    python -m benchmarks.recon_rollout checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.recon_rollout device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class ReconRolloutConfig(ProtocolConfig):
    """Settings of the evaluation: RECON, one to four seconds ahead."""

    checkpoint: str = "thuml/Vid2World-RECON"
    dataset: str = "runs/data/recon"
    out: str = "runs/eval/recon_rollout"


def main(config: ReconRolloutConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("recon_rollout", config)


if __name__ == "__main__":
    run("recon_rollout", ReconRolloutConfig, main)
