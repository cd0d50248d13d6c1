"""Reading the ``.zip`` of an SB3 agent without being told which algorithm wrote it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

# An attribute that only this algorithm has, most particular first.
SIGNS = {
    "DQN": "exploration_rate",
    "SAC": "target_entropy",
    "TD3": "policy_delay",
    "PPO": "clip_range",
    "A2C": "gae_lambda",
}


def load_agent(path: str | Path, device: str = "cpu") -> BaseAlgorithm:
    """Load an agent to act with; its environment is not needed.

    The file is a pickle: load only what you trust.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no SB3 agent, or of an algorithm that Stable-Baselines3 itself does not have.
    """
    import stable_baselines3

    if not Path(path).is_file():
        raise FileNotFoundError(f"agent: no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            attributes = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"agent {path}: expected a .zip saved by Stable-Baselines3, got none ({error})") from error
    for name, sign in SIGNS.items():
        if sign in attributes:
            agent: BaseAlgorithm = getattr(stable_baselines3, name).load(path, device=device)
            return agent
    raise ValueError(f"agent {path}: none of {', '.join(SIGNS)}; load it yourself and pass the model")
