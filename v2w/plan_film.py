"""Pictures of a plan at work: the real world, the imagined one, the goal, and their costs over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from moviepy import ImageSequenceClip
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.film import write_film

Picture = NDArray[np.uint8]
Point: TypeAlias = tuple[float, float]
Colour: TypeAlias = tuple[int, int, int]
TITLES = ("real", "imagined plan", "goal")

_GAP, _HEAD, _CURVE = 8, 34, 150
_BACKGROUND, _TEXT, _DIM, _GRID = (24, 26, 32), (235, 235, 235), (150, 155, 165), (48, 52, 62)
_REAL, _IMAGINED = (96, 165, 250), (251, 146, 60)


@dataclass(frozen=True)
class Moment:
    """What one picture shows.

    Attributes:
        real: uint8 ``[h w 3]``.
        imagined: what the plan expected to see instead.
        real_cost: of the real frame.
        imagined_cost: of the imagined one.
        ahead: the plan's costs of the steps still to come.
        planned: whether a new plan was made just before.
    """

    real: Picture
    imagined: Picture
    real_cost: float
    imagined_cost: float
    ahead: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    planned: bool = False


def pictures(moments: Sequence[Moment], goal: Picture, caption: str, panel: int) -> list[Picture]:
    """One picture per moment, uint8 ``[height width 3]`` with even sides; panels are ``panel`` pixels square."""
    highest = max((float(np.max([*m.ahead, m.real_cost, m.imagined_cost])) for m in moments), default=0.0)
    last = max((index + len(moment.ahead) for index, moment in enumerate(moments)), default=1)
    return [
        _picture(moments[: index + 1], goal, f"{caption}, step {index + 1}", panel, highest or 1.0, max(last, 1))
        for index in range(len(moments))
    ]


def write(path: Path, frames: Sequence[Picture], fps: float) -> None:
    """An ``.mp4``, or anything else as a GIF."""
    if path.suffix == ".mp4":
        write_film(frames, path, fps)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageSequenceClip(list(frames), fps=fps).write_gif(str(path), logger=None)


def _picture(past: Sequence[Moment], goal: Picture, caption: str, panel: int, highest: float, last: int) -> Picture:
    width = len(TITLES) * panel + (len(TITLES) + 1) * _GAP
    height = _HEAD + panel + _GAP + _HEAD + _CURVE + _GAP
    image = Image.new("RGB", (width + width % 2, height + height % 2), _BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=16)
    now = past[-1]
    for column, (title, frame) in enumerate(zip(TITLES, (now.real, now.imagined, goal), strict=True)):
        x = _GAP + column * (panel + _GAP)
        draw.text((x, 9), title, fill=_TEXT, font=font)
        image.paste(Image.fromarray(frame).resize((panel, panel), Image.Resampling.NEAREST), (x, _HEAD))
    top = _HEAD + panel + _GAP
    draw.text((_GAP, top + 6), caption, fill=_TEXT, font=font)
    label = width - _GAP
    for name, colour in (("imagined", _IMAGINED), ("real", _REAL)):
        label -= round(draw.textlength(name, font=font)) + 2 * _GAP
        draw.text((label, top + 6), name, fill=colour, font=font)
    draw.text((label - round(draw.textlength("cost:", font=font)) - _GAP, top + 6), "cost:", fill=_DIM, font=font)
    _curve(draw, past, (_GAP, top + _HEAD, width - _GAP, top + _HEAD + _CURVE), highest, last)
    return np.asarray(image)


def _curve(
    draw: ImageDraw.ImageDraw, past: Sequence[Moment], box: tuple[int, int, int, int], highest: float, last: int
) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, outline=_GRID)

    def at(step: float, cost: float) -> Point:
        return left + (right - left) * step / last, bottom - (bottom - top) * cost / (1.05 * highest)

    for index, moment in enumerate(past):
        if moment.planned:
            draw.line([at(index, 0), at(index, 1.05 * highest)], fill=_GRID)
    start = len(past) - 1
    ahead = [at(start + i, cost) for i, cost in enumerate([past[-1].imagined_cost, *past[-1].ahead])]
    _line(draw, ahead, _DIM, 1)
    _line(draw, [at(i, moment.imagined_cost) for i, moment in enumerate(past)], _IMAGINED, 2)
    _line(draw, [at(i, moment.real_cost) for i, moment in enumerate(past)], _REAL, 2)


def _line(
    draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int], width: int
) -> None:
    known = [point for point in points if np.isfinite(point[1])]
    if len(known) > 1:
        draw.line(known, fill=colour, width=width)
    for x, y in known[-1:]:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
