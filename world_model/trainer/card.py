"""The model card that a training run writes; measured quality is added by the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from world_model.data import SPLITS, DatasetConfig, RecordedDataset

if TYPE_CHECKING:
    from world_model.trainer.recipe import Recipe


def card(recipe: Recipe, recorded: RecordedDataset, steps: int, seconds: float, metrics: Mapping[str, float]) -> str:
    """Markdown about data, training and validation."""
    height, width = recorded.frame_size
    clips = recipe.run.batch_size * recipe.run.accumulate
    weights = (
        f"an exponential moving average (decay {recipe.ema_decay})" if recipe.ema_decay else "those of the last step"
    )
    sizes = {part: len(recorded.ids(part)) for part in SPLITS}
    split = ", ".join(f"{size} {part}" for part, size in sizes.items())
    if isinstance(recipe.dataset, DatasetConfig) and recipe.dataset.mirror is not None:
        split += "; each of the train episodes and its mirror image count"
    source = f"`{recorded.env_id}`" if recorded.env_id else f"recordings ({recorded.format})"
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(metrics.items()))
    return f"""# {recipe.name}

An action-conditioned world model of {source}, made with vid2world-gym.

## Data

{sum(sizes.values())} recorded episodes ({split}), {height}x{width} pixels, {recorded.fps:g} frames per second,
{recorded.frame_skip * recorded.action_block} simulator step(s) per action. No other data was used.

## Training

{steps} optimizer steps in {seconds / 60:.0f} minutes, {clips} clips of {recipe.clip_frames} frames per step and
device. The saved weights are {weights}.

```json
{json.dumps(asdict(recipe), indent=2)}
```

## Validation during training

| measure | value |
| --- | --- |
{rows}
"""
