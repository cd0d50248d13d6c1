"""How true the dream is: recorded clips continued open loop with the recorded actions, against what was recorded.

    python -m benchmarks.fidelity checkpoint=FOLDER dataset=FOLDER [num_clips=64 horizon=30 ...]
    python -m benchmarks.fidelity sweep=true checkpoint=FOLDER dataset=FOLDER

The final numbers come from the test split, which nothing else reads. `sweep` tries every sampling setting on the
validation split: choose defaults from that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks import report
from benchmarks.clips import Clips, draw_clips
from benchmarks.command_line import run
from benchmarks.fidelity_measures import evaluate
from benchmarks.fidelity_report import write_fidelity, write_sweep
from benchmarks.fidelity_sweep import sweep
from benchmarks.loading import load_model
from world_model.data.action_blocks import in_blocks
from world_model.data.minari_dataset import read_minari


@dataclass(frozen=True)
class FidelityConfig:
    """Settings of the open-loop evaluation.

    `checkpoint` is a folder or the name of a model shipped with the package. `num_sampling_steps`,
    `guidance_scale` and `dtype` default to the checkpoint's own, `split` to `test` (`validation` in a
    sweep). A sweep varies the first two, and uses at most `sweep_clips` clips.
    """

    checkpoint: str = "pusht"
    dataset: str = "runs/data/pusht"
    split: Literal["train", "validation", "test"] | None = None
    num_clips: int = 64
    horizon: int = 30
    context_frames: int = 4
    num_sampling_steps: int | None = None
    guidance_scale: float | None = None
    sweep: bool = False
    sweep_steps: tuple[int, ...] = (1, 2, 4, 10, 50)
    sweep_scales: tuple[float, ...] = (1.0, 1.5, 2.5)
    sweep_clips: int = 32
    seed: int = 0
    batch_size: int = 16
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: FidelityConfig) -> dict[str, Any]:
    """Run the evaluation, or the sweep, and write its report.

    Returns:
        The measures: flat, with plain keys (`psnr_10`, `agent_error_10`, `action_ratio_10`, ...); of a sweep, a list of
        such dictionaries under `settings`.

    Raises:
        ValueError: an unusable setting, or a dataset with too few clips of this length.
        FileNotFoundError: no such checkpoint or dataset.
    """
    given, config = config, _settled(config)
    model = load_model(config.checkpoint, config.device, config.dtype)
    clips = load_clips(config, model.config.action_block)
    common: dict[str, Any] = {
        "context_frames": config.context_frames,
        "seed": config.seed,
        "batch_size": config.batch_size,
    }
    if config.sweep:
        settings = sweep(model, clips, config.sweep_steps, config.sweep_scales, **common)
        write_sweep(given, settings, config.results)
        return {"settings": settings}
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale)
    measures, curves = evaluate(model, clips, sampling=sampling, **common)
    write_fidelity(given, measures, curves, config.results)
    return measures


def load_clips(config: FidelityConfig, action_block: int = 1) -> Clips:
    """Clips of `context_frames + horizon` frames from the chosen split of the dataset, in blocks of actions."""
    dataset = in_blocks(read_minari(config.dataset), action_block)
    split = config.split or ("validation" if config.sweep else "test")
    episodes = dataset.episodes(split)
    length = config.context_frames + config.horizon
    return draw_clips(episodes, dataset.action_spec, num_clips=config.num_clips, length=length, seed=config.seed)


def _settled(config: FidelityConfig) -> FidelityConfig:
    for name in ("num_clips", "horizon", "context_frames", "batch_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    clips = config.num_clips
    if config.sweep:
        clips = min(clips, config.sweep_clips)
    if config.quick:
        steps, scales = config.sweep_steps[:2], config.sweep_scales[:2]
        config = replace(config, results=report.QUICK_FOLDER, sweep_steps=steps, sweep_scales=scales)
        clips = min(clips, 8)
    return replace(config, num_clips=clips)


if __name__ == "__main__":
    run("fidelity", FidelityConfig, main)
