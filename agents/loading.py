"""Reading the ``.zip`` of an SB3 agent without being told which algorithm wrote it."""

from __future__ import annotations

import base64
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

SYSTEM = "system_info.txt"  # where SB3 notes the version of Python
CODE = b"_make_function"  # in pickles of cloudpickle that hold functions and not only their names

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
        ValueError: It is no SB3 agent, of an algorithm that Stable-Baselines3 itself does not have, or holds code of
            another version of Python.
    """
    import stable_baselines3

    if not Path(path).is_file():
        raise FileNotFoundError(f"agent: no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            attributes = json.loads(archive.read("data"))
            system = archive.read(SYSTEM).decode() if SYSTEM in archive.namelist() else ""
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"agent {path}: expected a .zip saved by Stable-Baselines3, got none ({error})") from error
    _check_python(path, attributes, system)
    for name, sign in SIGNS.items():
        if sign in attributes:
            agent: BaseAlgorithm = getattr(stable_baselines3, name).load(path, device=device)
            return agent
    raise ValueError(f"agent {path}: none of {', '.join(SIGNS)}; load it yourself and pass the model")


def _check_python(path: str | Path, attributes: Mapping[str, Any], system: str) -> None:
    """Our agents hold the code of their feature extractors, so that plain SB3 loads them; only the same version of
    Python can run it, and another one crashes.

    Raises:
        ValueError: It is another one.
    """
    found = re.search(r"Python: (\d+\.\d+)", system)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if found is None or found[1] == here:
        return
    pickles = (value.get(":serialized:", "") for value in attributes.values() if isinstance(value, dict))
    if any(CODE in base64.b64decode(pickle) for pickle in pickles):
        raise ValueError(
            f"agent {path}: saved under Python {found[1]}, whose code Python {here} cannot run; use the former"
        )
