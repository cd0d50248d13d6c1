"""What to record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Fields that a later run may change without making other episodes.
FREE_FIELDS = ("out", "num_episodes", "num_workers", "overwrite", "progress")


@dataclass(frozen=True)
class CollectConfig:
    """What to record.

    Attributes:
        env_id: a Gymnasium id; "module:id" imports the module first, "namespace/Name-v0" tries `import namespace`.
        out: folder of the dataset.
        env_kwargs: given to `gymnasium.make`.
        num_episodes: episodes in the finished dataset. A larger number later extends it.
        max_steps: recorded actions per episode at most.
        frame_size: (height, width) of the frames; None keeps the size of the environment.
        frame_skip: steps of the environment per recorded action. The action is repeated, rewards are summed, and the
            frame after the last step is kept, so the recorded frame rate is the environment's divided by this.
        policy: "random", another of `POLICIES`, or "module:function" (see `resolve_policy`).
        seed: seeds everything.
        num_workers: processes that record; 1 records in this process. With more, a script needs the usual
            `if __name__ == "__main__":` guard.
        info_keys: entries of `info` to store with each frame, for example PushT's ("pos_agent", "block_pose").
        overwrite: start afresh instead of continuing what is in `out`.
        progress: show a progress bar.

    Raises:
        ValueError: if a value is out of range; names the field.
    """

    env_id: str
    out: str | Path
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    num_episodes: int = 100
    max_steps: int = 150
    frame_size: tuple[int, int] | None = None
    frame_skip: int = 1
    policy: str = "random"
    seed: int = 0
    num_workers: int = 1
    info_keys: tuple[str, ...] = ()
    overwrite: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("num_episodes", "max_steps", "frame_skip", "num_workers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed: expected an integer >= 0, got {self.seed!r}")
        if self.frame_size is not None:
            size = tuple(self.frame_size)
            if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
                raise ValueError(f"frame_size: expected (height, width) in pixels or None, got {self.frame_size!r}")
        try:
            json.dumps(self.env_kwargs)
        except TypeError as error:
            raise ValueError(f"env_kwargs: expected plain values that JSON can hold, got {self.env_kwargs}") from error

    @property
    def episodes_folder(self) -> Path:
        """Where finished episodes wait until the dataset is assembled."""
        return Path(self.out) / "episodes"

    def episode_path(self, index: int) -> Path:
        """The file of one finished episode."""
        return self.episodes_folder / f"{index:06d}.npz"

    def identity(self) -> dict[str, Any]:
        """The part of the configuration that decides what an episode looks like, as plain JSON values."""
        facts = {key: value for key, value in asdict(self).items() if key not in FREE_FIELDS}
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain
