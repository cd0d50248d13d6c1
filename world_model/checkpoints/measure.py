"""How long loading a checkpoint takes and how much memory it needs at its peak, measured in a process of its own.

python -m world_model.checkpoints.measure CHECKPOINT [--dtype bfloat16] [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class LoadCost:
    """What one load cost.

    Attributes:
        seconds: from the path to a model that is ready; libraries were imported before.
        kept_bytes: of the weights and buffers of the model.
        peak_bytes: most memory the process ever had, pages of the mapped file included.
        before_bytes: what it had after the imports.
    """

    seconds: float
    kept_bytes: int
    peak_bytes: int
    before_bytes: int

    @property
    def peak_ratio(self) -> float:
        """Peak over what is kept: 1 is a load without any overhead, 2 one that copies."""
        return self.peak_bytes / self.kept_bytes


def measure_load(path: str | Path, dtype: str = "bfloat16", device: str = "cpu") -> LoadCost:
    """Load a checkpoint in a fresh process and say what it cost.

    Raises:
        ValueError: the checkpoint could not be loaded; carries the reason.
    """
    command = [sys.executable, "-m", "world_model.checkpoints.measure", str(path), "--dtype", dtype, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return LoadCost(**json.loads(done.stdout.splitlines()[-1]))


def _measure_here(path: str, dtype: str, device: str) -> LoadCost:
    import resource  # not on Windows

    import torch
    from transformers import CLIPTextModel, CLIPVisionModel  # noqa: F401, imported on first use otherwise

    from world_model.checkpoints.load import load

    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    start = time.perf_counter()
    model = load(path, dtype=getattr(torch, dtype), device=device)
    seconds = time.perf_counter() - start
    kept = sum(tensor.nbytes for tensor in model.state_dict().values())
    return LoadCost(seconds, kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, before)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m world_model.checkpoints.measure", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    try:
        cost = _measure_here(options.checkpoint, options.dtype, options.device)
    except ValueError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(asdict(cost)))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
