"""How films of one start differ with the action: numbers for each direction, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.report import Table, number
from benchmarks.scoring import View

AXES = ("X", "Y", "Z")
_GAP, _LABEL, _PANEL = 4, 130, 160


def action_response(films: Mapping[str, NDArray[np.uint8]], view: View) -> dict[str, NDArray[np.float64]]:
    """How far apart the films of opposite actions are, in grey levels of 255, at each frame.

    Args:
        films: under X+, X-, Y+, ... uint8 [t h w 3], of one start and one noise.

    Returns:
        Under x, y and z, and under `any` as the mean of all pairs of films, float64 [t].
    """
    pixels = {label: 255 * view(film).numpy().astype(np.float64) for label, film in films.items()}

    def apart(first: str, second: str) -> NDArray[np.float64]:
        return np.asarray(np.abs(pixels[first] - pixels[second]).mean(axis=(1, 2, 3)))

    labels = list(films)
    pairs = [apart(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    opposite = {axis.lower(): apart(f"{axis}+", f"{axis}-") for axis in AXES if {f"{axis}+", f"{axis}-"} <= set(labels)}
    return {**opposite, "any": np.mean(pairs, axis=0)}


def response_table(response: Mapping[str, NDArray[np.float64]], frames: Sequence[int]) -> Table:
    """Rows for the axes, columns for some frames (counted from 0)."""
    title = "Opposite actions: mean absolute difference of the films, grey levels of 255"
    names = {axis.lower(): f"{axis}+ against {axis}-" for axis in AXES} | {"any": "any two"}
    rows = [[names[key], *(number(float(curve[frame])) for frame in frames)] for key, curve in response.items()]
    return Table(title, ["films", *(f"frame {f + 1}" for f in frames)], rows)


def write_sheet(films: Mapping[str, NDArray[np.uint8]], path: Path, columns: int = 8) -> Path:
    """A picture with a row for each film and columns spread over its frames."""
    length = min(len(film) for film in films.values())
    chosen = np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int))
    height, width = next(iter(films.values())).shape[1:3]
    panel = (_PANEL, max(1, round(_PANEL * height / width)))
    size = (_LABEL + len(chosen) * (panel[0] + _GAP), 24 + len(films) * (panel[1] + _GAP))
    sheet = Image.new("RGB", size, (24, 26, 32))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, frame in enumerate(chosen):
        draw.text((_LABEL + column * (panel[0] + _GAP), 4), f"frame {frame + 1}", fill=(150, 155, 165), font=font)
    for row, (label, film) in enumerate(films.items()):
        top = 24 + row * (panel[1] + _GAP)
        draw.text((4, top + panel[1] // 2 - 8), label[-18:], fill=(235, 235, 235), font=font)
        for column, frame in enumerate(chosen):
            picture = Image.fromarray(film[frame]).resize(panel, Image.Resampling.BILINEAR)
            sheet.paste(picture, (_LABEL + column * (panel[0] + _GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part.png")
    sheet.save(temporary)
    temporary.replace(path)
    return path
