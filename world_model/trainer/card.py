"""The model card that a training run writes; measured quality is added by the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from world_model.data import SPLITS, RecordedDataset

if TYPE_CHECKING:
    from world_model.trainer.world_model import WorldTrainConfig


def card(
    config: WorldTrainConfig, recorded: RecordedDataset, steps: int, seconds: float, metrics: Mapping[str, float]
) -> str:
    """Markdown about data, training and validation."""
    height, width = recorded.frame_size
    window = config.window or config.network.window
    split = ", ".join(f"{len(recorded.ids(part))} {part}" for part in SPLITS)
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(metrics.items()))
    return f"""# {config.name}

An action-conditioned world model of `{recorded.env_id or "a recorded dataset"}`, made with vid2world-gym.

## Data

{len(recorded)} recorded episodes ({split}), {height}x{width} pixels, {recorded.fps:g} frames per second,
{recorded.frame_skip} simulator step(s) per action. No other data was used.

## Training

{steps} optimizer steps in {seconds / 60:.0f} minutes, {config.run.batch_size} clips of {window} frames per step and
device. The saved weights are an exponential moving average (decay {config.ema_decay}).

```json
{json.dumps(asdict(config), indent=2)}
```

## Validation during training

| measure | value |
| --- | --- |
{rows}
"""
