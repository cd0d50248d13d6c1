"""A recording to measure the tiny model on."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pusht_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recorded episodes of 16 steps at 16x16."""
    from v2w_env.collect import CollectConfig, collect

    out = tmp_path_factory.mktemp("data") / "pusht"
    kwargs = {"obs_type": "pixels", "observation_width": 16, "observation_height": 16}
    return collect(
        CollectConfig("gym_pusht/PushT-v0", str(out), kwargs, num_episodes=6, max_steps=16, policy="pusht_mix")
    )
