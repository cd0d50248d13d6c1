"""Which floating-point type to compute in: the wanted one, or the one that a processor is fast in."""

from __future__ import annotations

import platform
from functools import lru_cache

import torch


def inference_dtype(wanted: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The type that a model which asks for `wanted` runs in on `device`.

    Processors without instructions for bfloat16 convert every number on its way, which is slower than float32. They
    are given float32, which differs from bfloat16 by rounding alone.

    Args:
        wanted: name of a type of torch, such as "bfloat16".
    """
    dtype: torch.dtype = getattr(torch, wanted)
    slow = dtype is torch.bfloat16 and torch.device(device).type == "cpu" and not cpu_has_bfloat16()
    return torch.float32 if slow else dtype


@lru_cache(maxsize=1)
def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself (AVX512-BF16, AMX, newer ARM).

    oneDNN takes them on every processor with AVX-512, but without those instructions a product is several times slower
    than one of float32.
    """
    try:
        taken = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    if not taken or platform.machine().lower() not in ("x86_64", "amd64"):
        return taken
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # no public names; a torch without them: no
    return any(hasattr(torch.cpu, name) and getattr(torch.cpu, name)() for name in native)
