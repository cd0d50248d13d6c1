"""The published model on RECON, the frame four seconds ahead (Table 1).

    python -m benchmarks.recon_single_step checkpoint=FOLDER dataset=FOLDER [num_clips=8 ...]
    torchrun --nproc-per-node=4 -m benchmarks.recon_single_step device=cuda ...

The set-up itself is in `benchmarks.protocols.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command_line import run
from benchmarks.protocols.evaluate import evaluate
from benchmarks.protocols.settings import ProtocolConfig


@dataclass(frozen=True)
class ReconSingleStepConfig(ProtocolConfig):
    """Settings of the evaluation: RECON, four seconds ahead."""

    checkpoint: str = "thuml/Vid2World-RECON"
    dataset: str = "runs/data/recon"
    out: str = "runs/eval/recon_single_step"


def main(config: ReconSingleStepConfig) -> dict[str, Any]:
    """Run it and write its report. Returns the measures; see `evaluate`."""
    return evaluate("recon_single_step", config)


if __name__ == "__main__":
    run("recon_single_step", ReconSingleStepConfig, main)
