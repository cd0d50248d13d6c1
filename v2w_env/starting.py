"""Taking in the first frames of episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from v2w_env.frames import to_model
from v2w_env.resets import Start
from world_model.model import SamplingConfig, WorldModel
from world_model.types import WorldState


def begin(
    model: WorldModel,
    starts: Sequence[Start],
    generators: Sequence[torch.Generator],
    rows: np.ndarray,
    num_rows: int,
    state: WorldState | None,
    sampling: SamplingConfig | None = None,
) -> WorldState:
    """Encode ``starts``, those of one length in one batch, and put them into ``rows`` of ``state``.

    Args:
        starts: One start per row; their contexts may differ in length.
        generators: One per start, for the history noise.
        rows: ``[len(starts)]`` indices.
        num_rows: Rows of the whole state.
        state: ``None`` if all rows start now.
        sampling: As the steps that follow will be given it.
    """
    lengths = np.array([len(start.frames) for start in starts])
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length).tolist()
        clips = np.stack([starts[i].frames for i in group])
        actions = model.config.actions.to_tensor(np.stack([starts[i].actions for i in group]))
        pictures = to_model(clips, model.device)
        fresh = model.start(pictures, actions.to(model.device), [generators[i] for i in group], sampling)
        if len(group) == num_rows:
            return fresh
        # Before the first reset there is nothing to put rows into: any rows of the right number will do.
        state = fresh.select([0] * num_rows) if state is None else state
        state = state.scatter(rows[group].tolist(), fresh)
    assert state is not None
    return state
