"""What callers may pass to ``reset``, checked before anything changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction

from v2w_env.config import check_names
from v2w_env.frames import FrameFit
from v2w_env.resets import Start
from v2w_env.spaces import ActionAdapter

RESET_OPTIONS = ["frames", "actions", "goal"]


@dataclass(frozen=True, eq=False)
class ResetOptions:
    """Checked ``reset`` options, one entry per sub-environment (or ``None`` where the option was not given)."""

    starts: list[Start] | None = None
    goals: np.ndarray | None = None


def parse_options(
    options: Mapping[str, Any] | None, num_envs: int, fit: FrameFit, actions: ActionAdapter
) -> ResetOptions:
    """Check ``reset(options=...)`` (without ``reset_mask``).

    ``frames`` is uint8 ``[t h w 3]`` for all sub-environments or ``[num_envs t h w 3]``; ``actions``, in units of the
    environment's action space, ``[t-1 *shape]`` or ``[num_envs t-1 *shape]`` (may be left out when ``t`` is 1);
    ``goal`` is uint8 ``[h w 3]`` or ``[num_envs h w 3]``.

    Raises:
        ValueError: An unknown key (naming the nearest), or a value of the wrong shape, dtype or range.
    """
    options = options or {}
    check_names("reset option", options, RESET_OPTIONS)
    goals = None
    if options.get("goal") is not None:
        goals = fit(options["goal"], "options['goal']", ("h w 3", "n h w 3"))
        goals = _per_env(goals, goals.ndim == 4, num_envs, "options['goal']")
    if options.get("frames") is None:
        if options.get("actions") is not None:
            raise ValueError("options['actions']: given without options['frames'], the frames they connect")
        return ResetOptions(None, goals)

    frames = fit(options["frames"], "options['frames']", ("t h w 3", "n t h w 3"))
    steps, shape = frames.shape[-4] - 1, actions.shape
    given = options.get("actions")
    if given is None and steps:
        raise ValueError(
            f"options['actions']: {steps + 1} frames need the {steps} actions between them, shape {(steps, *shape)}; "
            "pass them, or a single frame"
        )
    if not steps:
        if given is not None and np.size(given):
            raise ValueError(
                f"options['actions']: a single frame has no actions before it, got shape {np.shape(given)}"
            )
        native, batched = np.zeros((0, *actions.spec.shape), actions.spec.dtype), False
    else:
        assert given is not None
        batched = np.ndim(given) == len(shape) + 2
        try:
            native = actions.check(given, (num_envs, steps) if batched else (steps,), "options['actions']")
        except InvalidAction as error:
            raise ValueError(str(error)) from error
    all_frames = _per_env(frames, frames.ndim == 5, num_envs, "options['frames']")
    all_actions = _per_env(native, batched, num_envs, "options['actions']")
    starts = [Start(f, a, {"reset_source": "options"}) for f, a in zip(all_frames, all_actions, strict=True)]
    return ResetOptions(starts, goals)


def rows_to_reset(mask: Any, num_envs: int) -> np.ndarray:
    """Indices of the sub-environments that ``options["reset_mask"]`` names; all of them without a mask.

    Raises:
        TypeError: The mask is not a numpy array of bools (as in Gymnasium's own vector environments).
        ValueError: It has the wrong shape or names nobody.
    """
    if mask is None:
        return np.arange(num_envs)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = f"dtype {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"options['reset_mask']: expected a numpy array of bools, got {got}")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask']: expected shape ({num_envs},), got {mask.shape}")
    if not mask.any():
        raise ValueError("options['reset_mask']: expected at least one True, got none")
    return np.flatnonzero(mask)


def seeds_per_env(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Gymnasium's seeding: an int counts up from sub-environment to sub-environment, a list names each."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(num_envs)]
    seeds = [int(s) if isinstance(s, np.integer) else s for s in seed]
    if len(seeds) != num_envs:
        raise ValueError(f"seed: expected one seed for each of {num_envs} sub-envs, got {len(seeds)}")
    return seeds


def _per_env(array: np.ndarray, batched: bool, num_envs: int, what: str) -> np.ndarray:
    if not batched:
        return np.broadcast_to(array, (num_envs, *array.shape))
    if len(array) != num_envs:
        raise ValueError(f"{what}: expected one entry for each of {num_envs} sub-envs, got {len(array)}")
    return array
