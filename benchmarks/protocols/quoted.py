"""Numbers of the paper (arXiv 2505.14357), to stand beside measured ones: quoted, not measured here.

Where the paper shows a set-up in pictures or curves only, there is nothing to quote.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quote:
    """A row of a table of the paper; what the paper leaves out is missing from `values`."""

    model: str
    source: str
    values: dict[str, float]


_COLUMNS = ("fvd", "fid", "ssim", "lpips", "psnr", "dreamsim")


def _row(model: str, table: int, *values: float) -> Quote:
    return Quote(model, f"Table {table}", dict(zip(_COLUMNS, values, strict=False)))


_RT1_FRAME_BY_FRAME = (
    _row("Vid2World", 1, 18.5, 5.806, 0.842, 0.152, 24.6, 0.054),
    _row("Vid2World, 30k steps, shift", 2, 29.9, 7.85, 0.799, 0.185, 21.5),
    _row("Vid2World, 30k steps, masked, without action guidance", 2, 29.4, 7.07, 0.824, 0.169, 22.9),
    _row("Vid2World, 30k steps, extrapolative, without action guidance", 2, 28.6, 7.52, 0.832, 0.162, 23.4),
    _row("Vid2World, 30k steps, masked", 2, 25.8, 6.84, 0.840, 0.159, 23.9),
    _row("Vid2World, 30k steps, extrapolative", 2, 22.4, 6.16, 0.839, 0.159, 23.9),
)
_RT1_ALL_AT_ONCE = (
    _row("Vid2World-NAR", 1, 18.7, 5.871, 0.856, 0.140, 25.8, 0.048),
    # The paper notes that the FID of the following six was computed with Inception in training mode, which lowers it.
    _row("pre-trained base model", 1, 237.6, 5.432, 0.712, 0.228, 20.6),
    _row("classifier guidance", 1, 213.1, 6.005, 0.683, 0.250, 19.8),
    _row("ControlNet", 1, 27.1, 3.248, 0.836, 0.148, 24.5),
    _row("action-conditioned", 1, 24.2, 2.965, 0.852, 0.134, 25.6),
    _row("language-conditioned", 1, 33.7, 3.511, 0.812, 0.177, 22.1),
    _row("AVID", 1, 39.3, 3.436, 0.842, 0.142, 25.3),
)
_CSGO = (
    _row("Vid2World", 1, 106.6, 17.5, 0.481, 0.404, 18.7, 0.135),
    _row("DIAMOND-HQ", 1, 368.5, 87.2, 0.447, 0.510, 18.3, 0.2416),
    _row("DIAMOND-Fast", 1, 577.1, 115.6, 0.449, 0.547, 18.2, 0.2817),
)
_RECON = (
    _row("Vid2World", 1, 59.4, 42.9, 0.481, 0.3236, 16.10, 0.108),
    _row("NWM (1B), one step", 1, 31.2, 34.1, 0.389, 0.295, 15.343, 0.091),
    _row("NWM + Ego4D (1B), one step", 1, 41.0, 34.9, 0.361, 0.368, 14.072, 0.138),
)

QUOTES: dict[str, tuple[Quote, ...]] = {
    "rt1_ar": _RT1_FRAME_BY_FRAME,
    "rt1_nar": _RT1_ALL_AT_ONCE,
    "csgo": _CSGO,
    "recon_single_step": _RECON,
}
"""By protocol. The other protocols are shown in the paper's figures 6, 17, 18 and 20, without numbers."""

DELTAS: dict[str, tuple[Quote, ...]] = {
    "csgo": (
        _row("Vid2World", 4, -77.06, -29.44, 22.40, -20.32, 17.60, -41.81),
        _row("DIAMOND-HQ", 4, -55.85, -14.76, 47.04, -25.55, 48.78, -53.35),
        _row("DIAMOND-Fast", 4, -48.43, -5.01, 44.84, -20.95, 52.94, -44.16),
    )
}
"""Normalised delta metrics in percent, see `deltas`."""
