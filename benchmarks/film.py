"""A film of real and imagined episodes side by side: one column per episode, rows real, imagined, |difference|."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ROWS = ("real", "imagined", "|difference|")

_GAP = 6
_LABEL_WIDTH = 30
_TITLE_HEIGHT = 44
_CAPTION_HEIGHT = 30
_BACKGROUND = (24, 26, 32)
_TEXT = (235, 235, 235)
_DIM = (150, 155, 165)


def compose(
    real: NDArray[np.uint8],
    imagined: NDArray[np.uint8],
    title: str,
    headings: Sequence[str],
    captions: Sequence[str],
    panel: int = 256,
) -> NDArray[np.uint8]:
    """One picture of the film, uint8 [height width 3] with even sides.

    Args:
        real: uint8 [n h w 3], one frame of each of n episodes.
        imagined: the same, imagined.
        title: text on top.
        headings: text above each column.
        captions: text below each column.
        panel: side of a frame in the picture; frames are enlarged without smoothing.
    """
    count = len(real)
    width = _LABEL_WIDTH + count * (panel + _GAP)
    height = _TITLE_HEIGHT + _CAPTION_HEIGHT + len(ROWS) * (panel + _GAP) + _CAPTION_HEIGHT
    picture = Image.new("RGB", (width + width % 2, height + height % 2), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((_LABEL_WIDTH, 10), title, fill=_TEXT, font=ImageFont.load_default(size=22))
    small = ImageFont.load_default(size=max(10, min(17, panel // 18)))
    difference = np.abs(real.astype(np.int16) - imagined.astype(np.int16)).astype(np.uint8)
    top = _TITLE_HEIGHT + _CAPTION_HEIGHT
    for row, (label, frames) in enumerate(zip(ROWS, (real, imagined, difference), strict=True)):
        y = top + row * (panel + _GAP)
        _vertical(picture, label, (4, y), panel)
        for column in range(count):
            frame = Image.fromarray(frames[column]).resize((panel, panel), Image.Resampling.NEAREST)
            picture.paste(frame, (_LABEL_WIDTH + column * (panel + _GAP), y))
    below = top + len(ROWS) * (panel + _GAP)
    for column in range(count):
        x = _LABEL_WIDTH + column * (panel + _GAP)
        draw.text((x + 2, _TITLE_HEIGHT + 4), headings[column], fill=_DIM, font=small)
        draw.text((x + 2, below + 2), captions[column], fill=_TEXT, font=small)
    return np.asarray(picture)


def write_film(pictures: Sequence[NDArray[np.uint8]], path: Path, fps: float) -> Path:
    """Write pictures uint8 [height width 3] as H.264; the file appears whole or not at all."""
    from moviepy import VideoClip

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    # ImageSequenceClip adds up 1/fps and, by rounding, shows some pictures twice and drops the last.
    clip = VideoClip(lambda t: pictures[min(round(t * fps), len(pictures) - 1)], duration=(len(pictures) + 0.5) / fps)
    try:
        # yuv420p is what browsers and phones play; a low crf keeps the hard edges of the enlarged pixels.
        settings = ["-crf", "17", "-pix_fmt", "yuv420p"]
        clip.write_videofile(str(temporary), fps=fps, codec="libx264", audio=False, logger=None, ffmpeg_params=settings)
        os.replace(temporary, path)
    finally:
        clip.close()
        temporary.unlink(missing_ok=True)
    return path


def _vertical(picture: Image.Image, text: str, corner: tuple[int, int], length: int) -> None:
    """Draw text that reads upwards, centred along `length` pixels below `corner`."""
    strip = Image.new("RGB", (length, _LABEL_WIDTH - 6), _BACKGROUND)
    draw = ImageDraw.Draw(strip)
    draw.text((length // 2, 11), text, fill=_DIM, font=ImageFont.load_default(size=17), anchor="mm")
    picture.paste(strip.rotate(90, expand=True), corner)
