"""Every evaluation set-up of the paper's release (arXiv 2505.14357, appendix C and D), as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.film_layout import Layout
from benchmarks.perceptual.backbones import Net
from benchmarks.scoring import METRICS, Metric, View

Actions = Literal["recorded", "directions", "held_keys"]
Selection = Literal["one_per_episode", "csgo", "first_episode", "images"]


@dataclass(frozen=True)
class Protocol:
    """One set-up. Frame indices count from 0 and include the context.

    Attributes:
        name: also that of the benchmark.
        about: for the report.
        dataset: format of the recordings, or "images" for a folder of pictures.
        selection: how clips are chosen from it.
        clips: how many; for `directions` how many starts, of which each is imagined six times.
        context_frames: recorded frames that an imagined film starts with.
        horizon: imagined frames.
        window: frames the network sees at once, the newest included.
        fps: of the films that are written.
        scored: frames that images are compared at.
        film: frames that FVD compares; None where it is not part of the protocol.
        actions: what leads from frame to frame. Only recorded actions have a recorded film to compare with.
        sampler: frame by frame, or all frames of the clip together.
        crop, size: see `View`; for frames of `frame_size`.
        metrics: measured by default.
        lpips_net: backbone of LPIPS.
        layout: of the films on disk.
    """

    name: str
    about: str
    dataset: str
    selection: Selection
    clips: int
    context_frames: int
    horizon: int
    window: int
    fps: int
    scored: tuple[int, ...] = ()
    film: tuple[int, ...] | None = None
    actions: Actions = "recorded"
    sampler: Literal["frame_by_frame", "all_at_once"] = "frame_by_frame"
    crop: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    metrics: tuple[Metric, ...] = METRICS
    lpips_net: Net = "vgg"
    layout: Layout = "nested"
    frame_size: tuple[int, int] = (320, 512)

    @property
    def length(self) -> int:
        """Frames of a film, the context included."""
        return self.context_frames + self.horizon

    def view(self, frame_size: tuple[int, int] | None = None) -> View:
        """What is measured of frames of `frame_size`, where the crop is scaled with them."""
        height, width = frame_size or self.frame_size
        crop = None
        if self.crop is not None:
            scale = (height / self.frame_size[0], width / self.frame_size[1])
            crop = (round(self.crop[0] * scale[0]), round(self.crop[1] * scale[1]))
        return View(crop, self.size, self.scored, self.film)


def _frames(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


_WITHOUT_FVD: tuple[Metric, ...] = tuple(metric for metric in METRICS if metric != "fvd")

_ALL = (
    Protocol(
        name="rt1_ar",
        about="RT-1, frame by frame from one frame; the measures include that frame, as the paper's do",
        dataset="rt1",
        selection="one_per_episode",
        clips=1024,
        context_frames=1,
        horizon=15,
        window=16,
        fps=3,
        scored=_frames(0, 15),
        film=_frames(0, 15),
    ),
    Protocol(
        name="rt1_nar",
        about="RT-1, all frames of the clip together; the measures include the first, as the paper's do",
        dataset="rt1",
        selection="one_per_episode",
        clips=1024,
        context_frames=1,
        horizon=15,
        window=16,
        fps=3,
        scored=_frames(0, 15),
        film=_frames(0, 15),
        sampler="all_at_once",
    ),
    Protocol(
        name="rt1_action_control",
        about="RT-1, the same start under six constant actions, one for each direction of the gripper",
        dataset="rt1",
        selection="first_episode",
        clips=1,
        context_frames=1,
        horizon=15,
        window=16,
        fps=3,
        actions="directions",
    ),
    Protocol(
        name="csgo",
        about="Counter-Strike, frame by frame from four frames; the measures leave these out",
        dataset="csgo",
        selection="csgo",
        clips=500,
        context_frames=4,
        horizon=12,
        window=16,
        fps=3,
        scored=_frames(4, 15),
        film=_frames(4, 15),
        crop=(275, 512),
        size=(150, 280),
    ),
    Protocol(
        name="csgo_long_rollout",
        about="Counter-Strike, 100 frames from nine, the network seeing the last nine, a walking key held for ten",
        dataset="csgo",
        selection="csgo",
        clips=50,
        context_frames=9,
        horizon=100,
        window=10,
        fps=4,
        scored=_frames(9, 108),
        film=_frames(9, 108),
        actions="held_keys",
        crop=(275, 512),
        size=(150, 280),
    ),
    Protocol(
        name="csgo_ood",
        about="pictures of games never seen in training, 50 frames from nine copies of each",
        dataset="images",
        selection="images",
        clips=16,
        context_frames=9,
        horizon=50,
        window=10,
        fps=4,
        actions="held_keys",
        crop=(275, 512),
        size=(150, 280),
    ),
    Protocol(
        name="recon_single_step",
        about="RECON, four seconds ahead, reached frame by frame; images are compared at the last frame only",
        dataset="recon",
        selection="one_per_episode",
        clips=500,
        context_frames=4,
        horizon=16,
        window=20,
        fps=4,
        scored=(19,),
        film=_frames(4, 19),
        crop=(320, 320),
        size=(224, 224),
        lpips_net="alex",
        layout="flat",
    ),
    Protocol(
        name="recon_rollout",
        about="RECON, frame by frame; images are compared at one, two and four seconds",
        dataset="recon",
        selection="one_per_episode",
        clips=150,
        context_frames=4,
        horizon=16,
        window=20,
        fps=4,
        scored=(7, 11, 19),
        crop=(320, 320),
        size=(224, 224),
        metrics=_WITHOUT_FVD,
        lpips_net="alex",
        layout="flat",
    ),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
