"""Infos in Gymnasium's vector form: per key an array over sub-environments and a mask ``_key`` of who reported it."""

from __future__ import annotations

from typing import Any

import numpy as np


def row_info(info: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """One sub-environment's part of batched info arrays ``[n ...]``, numbers as Python numbers."""
    return {key: value[row].item() if value.ndim == 1 else value[row].copy() for key, value in info.items()}


def sub_env_info(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """What one sub-environment reported in a vector environment's infos, numbers as Python numbers."""
    info = {}
    for key, value in infos.items():
        if f"_{key}" in infos and infos[f"_{key}"][row]:
            one = sub_env_info(value, row) if isinstance(value, dict) else value[row]
            info[key] = one.item() if isinstance(one, np.generic) else one
    return info


def merge_rows(infos: dict[str, Any], info: dict[str, np.ndarray], rows: np.ndarray, keep: np.ndarray, n: int) -> None:
    """Put the kept entries of info arrays into ``infos`` at ``rows``: ``VectorEnv._add_info`` for a batch at once."""
    if not len(rows):
        return
    for key, value in info.items():
        kind = value.dtype.kind
        wide = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}.get(kind, value.dtype)
        array = np.zeros((n, *value.shape[1:]), wide if value.ndim == 1 else value.dtype)
        array[rows] = value[keep]
        mask = np.zeros(n, np.bool_)
        mask[rows] = True
        infos[key], infos[f"_{key}"] = array, mask
