"""Where the films of a clip lie: in the two layouts of the release, which `benchmark=videos` reads back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Layout = Literal["nested", "flat"]

RECORDED, IMAGINED = "gt_video.mp4", "pred_video.mp4"
RECORDED_END, IMAGINED_END = "_x_gt.mp4", "_x_pred.mp4"


@dataclass(frozen=True)
class ClipFiles:
    """The files of one clip: NAME/gt_video.mp4 and so on ("nested"), or NAME_x_gt.mp4 and so on ("flat")."""

    folder: Path
    name: str
    layout: Layout

    @property
    def recorded(self) -> Path:
        return self._path(RECORDED, RECORDED_END)

    @property
    def imagined(self) -> Path:
        return self._path(IMAGINED, IMAGINED_END)

    @property
    def under_random_actions(self) -> Path:
        """The same start imagined under other actions than the recorded ones."""
        return self._path("random_video.mp4", "_x_random.mp4")

    @property
    def actions(self) -> Path:
        """The actions that led from frame to frame, [t-1 a]."""
        return self._path("actions.npy", "_actions.npy")

    @property
    def features(self) -> Path:
        """What FID and FVD compare."""
        return self._path("features.npz", "_features.npz")

    @property
    def scores(self) -> Path:
        """Written last: a clip that has it is finished."""
        return self._path("scores.json", "_scores.json")

    def _path(self, nested: str, flat: str) -> Path:
        return self.folder / self.name / nested if self.layout == "nested" else self.folder / f"{self.name}{flat}"
