"""Weights of a network that sees the future, for one that does not (Vid2World, section 4.1 and appendix A.2).

A convolution over time with half-width m reads the frames t-m .. t+m. Its causal counterpart has as many taps but reads
only frames up to t, so the weights of the m future frames need a place:

    shift          they stay in their slots, and everything is seen m frames late;
    masked         they are dropped;
    extrapolative  each future frame is taken to lie on the straight line that fits the newest `past` frames best, and
                   its weight is shared among these accordingly. With m = 1 and `past` = 2 it is 2 x[t] - x[t-1].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

TransferMethod = Literal["shift", "masked", "extrapolative"]
OutputConv = Literal["height_causal", "symmetric"]
METHODS: tuple[TransferMethod, ...] = ("shift", "masked", "extrapolative")


def convert_network(
    state: Mapping[str, Tensor],
    method: TransferMethod,
    past: int = 2,
    output_conv: OutputConv = "height_causal",
) -> dict[str, Tensor]:
    """A bidirectional network's state dict (our names) as a causal network's; see :func:`convert_tensor`."""
    return {name: convert_tensor(name, tensor, method, past, output_conv) for name, tensor in state.items()}


def convert_tensor(
    name: str, tensor: Tensor, method: TransferMethod, past: int = 2, output_conv: OutputConv = "height_causal"
) -> Tensor:
    """One tensor of a bidirectional :class:`CausalUNet` (``causal=False``) for its causal counterpart.

    Kernels over time change, biases and everything else stay. ``output_conv`` is the causal network's: with
    ``height_causal`` the published conversion treats the rows of the last, two-dimensional kernel as if they were time.
    """
    if re.search(r"(^|\.)temporal\.convs\.\d+\.weight$", name):
        return transfer_taps(tensor, method, dim=1, past=past)
    if name == "conv_out.weight" and output_conv == "height_causal":
        return transfer_taps(tensor, method, dim=2, past=past)
    return tensor


def transfer_taps(
    weight: Tensor, method: TransferMethod, *, dim: int = 1, past: int = 2, taps: int | None = None
) -> Tensor:
    """The causal kernel of a bidirectional one.

    Args:
        weight: has ``2 m + 1`` taps along ``dim``, ordered from the oldest frame to the newest.
        method: what becomes of the ``m`` taps that read the future.
        dim: the axis of time.
        past: newest frames that the line of ``extrapolative`` is fitted to, at least 2.
        taps: of the causal kernel; by default as many as before, or ``past`` where that is more.

    Returns:
        The same shape but for ``taps`` along ``dim``, the last of which reads the present.

    Raises:
        ValueError: an even kernel, too few taps, an unknown method.
    """
    size = weight.shape[dim]
    if method not in METHODS:
        raise ValueError(f"transfer method: expected one of {', '.join(METHODS)}, got {method!r}")
    if size % 2 == 0:
        raise ValueError(f"transfer: expected an odd number of taps (m past, 1 present, m future), got {size}")
    half = size // 2
    needed = {"shift": size, "masked": half + 1, "extrapolative": max(half + 1, past)}[method]
    taps = max(size, needed) if taps is None else taps
    if taps < needed:
        raise ValueError(f"transfer: {method} needs {needed} causal taps for a kernel of {size}, got taps={taps}")

    # Sums of half-precision taps are formed in float32.
    exact = weight.movedim(dim, -1).to(torch.promote_types(weight.dtype, torch.float32))
    if method == "shift":
        kernel = exact
    else:
        seen, future = exact[..., : half + 1], exact[..., half + 1 :]
        kernel = seen
        if method == "extrapolative" and half:
            rows = torch.tensor(
                [extrapolation_coefficients(k, past) for k in range(1, half + 1)],
                dtype=exact.dtype,
                device=exact.device,
            )
            shared = future @ rows.flip(1)  # rows run from the newest frame back, taps from the oldest on
            kernel = _align(seen, max(half + 1, past)) + _align(shared, max(half + 1, past))
    return _align(kernel, taps).to(weight.dtype).movedim(-1, dim).contiguous()


def extrapolation_coefficients(ahead: int, past: int) -> list[float]:
    """Weights of the frames ``t, t-1, .. t-past+1`` in the least-squares line's value ``ahead`` frames after ``t``.

    With times s_i = -i, their mean s and S = sum (s_i - s)^2 = past (past^2 - 1) / 12, the line's value at time k is
    sum_i c_i x[t-i] with c_i = 1/past + (k - s)(s_i - s)/S. The weights add up to 1 and reproduce straight lines.

    Raises:
        ValueError: ``past`` below 2, which leaves the line's slope open.
    """
    if past < 2:
        raise ValueError(f"extrapolation: a line needs past >= 2 frames, got {past}")
    mean, spread = -(past - 1) / 2, past * (past**2 - 1) / 12
    return [1 / past + (ahead - mean) * (-i - mean) / spread for i in range(past)]


def extrapolation_error_constant(ahead: int, past: int) -> float:
    """C such that a signal x is extrapolated ``ahead`` frames with an error of at most C sup|x''| (Proposition 1).

    The error vanishes on straight lines and is never positive on convex signals: the residuals of a least-squares
    line add up to zero even when weighted with time, so those of a convex signal are positive, then negative, then
    positive again, and stay so beyond the newest frame. An error functional of one sign is largest on the parabola
    x = s^2 / 2 among all signals with |x''| <= 1, and the parabola's error is

        C = (ahead^2 - sum_i c_i i^2) / 2,

    which is 1 for ``ahead`` = 1 and ``past`` = 2. No smaller constant holds. A causal convolution with extrapolated
    taps therefore differs from the bidirectional one by at most sum_k |w_k| C_k sup|x''|, w_k the tap of frame t+k.
    """
    coefficients = extrapolation_coefficients(ahead, past)
    return (ahead**2 - sum(c * i**2 for i, c in enumerate(coefficients))) / 2


def _align(kernel: Tensor, taps: int) -> Tensor:
    """Zeros for frames older than the kernel reads, up to ``taps`` taps along the last axis."""
    return F.pad(kernel, (taps - kernel.shape[-1], 0))
