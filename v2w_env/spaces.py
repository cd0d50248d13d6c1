"""From the world model's action spec to Gymnasium's spaces and back, and the check every action passes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction

from v2w_env.config import ActionRange
from v2w_env.encodings import ActionEncoding
from world_model.types import ActionSpec


def space_from_spec(spec: ActionSpec) -> spaces.Space[Any]:
    """The Gymnasium space of one sub-environment's actions, in the simulator's own units."""
    dtype: Any = np.dtype(spec.dtype)
    if spec.kind == "box":
        low = np.asarray(spec.low, dtype).reshape(spec.shape)
        high = np.asarray(spec.high, dtype).reshape(spec.shape)
        return spaces.Box(low, high, dtype=dtype)
    start = np.asarray(spec.start or (0,) * spec.size, np.int64)
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0], start=int(start[0]))
    if spec.kind == "multi_discrete":
        nvec = np.asarray(spec.nvec, np.int64).reshape(spec.shape)
        return spaces.MultiDiscrete(nvec, start=start.reshape(spec.shape))
    return spaces.MultiBinary(spec.shape[0] if len(spec.shape) == 1 else spec.shape)


class ActionAdapter:
    """Checks what callers pass to ``step`` and turns it into the simulator's units.

    As strict as ``space.contains`` about shape, NaN and bounds. About dtype it asks only that nothing is lost in kind:
    a Box of floats takes any float or integer array (float64 is rounded to the space's dtype), all other spaces any
    integer or bool array. Lists and CPU tensors are taken as arrays.

    Attributes:
        spec: The world model's action spec.
        space: What callers see, one sub-environment's action space.
    """

    def __init__(
        self, spec: ActionSpec, action_range: ActionRange = "native", encoding: ActionEncoding | None = None
    ) -> None:
        self.spec = spec
        self.normalized = action_range == "normalized"
        self._encoding = encoding
        native = encoding.space if encoding else space_from_spec(spec)
        if self.normalized and not (isinstance(native, spaces.Box) and native.is_bounded("both")):
            raise ValueError(f"action_range='normalized': expected a bounded Box action space, got {native!r}")
        self.space = spaces.Box(-1.0, 1.0, spec.shape, dtype=np.float32) if self.normalized else native
        self._native_bounds = _bounds(native)
        self._bounds = _bounds(self.space)
        self.shape: tuple[int, ...] = self.space.shape or ()

    def check(
        self, actions: Any, lead: tuple[int, ...], what: str = "actions", skip: np.ndarray | None = None
    ) -> np.ndarray:
        """Checked actions ``[*lead, *spec.shape]`` in the simulator's own units.

        Args:
            actions: Array-like in this adapter's :attr:`space`.
            lead: Expected leading dimensions: ``(num_envs,)`` for a batch, ``()`` for one action.
            what: What to call them in errors.
            skip: ``[num_envs]`` bools, rows whose action is ignored (and so replaced by a valid one, not checked).

        Raises:
            gymnasium.error.InvalidAction: Wrong shape, dtype, NaN or out of bounds.
        """
        try:
            array = np.asarray(actions)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InvalidAction(f"{what}: expected an array for {self.space}, got {actions!r}: {error}") from error
        low, high = self._bounds
        dtype = low.dtype
        allowed = "fiu" if dtype.kind == "f" else "iub"
        if array.dtype.kind not in allowed:
            kinds = "numbers" if allowed == "fiu" else "integers"
            raise InvalidAction(f"{what}: expected {kinds} for {self.space}, got dtype {array.dtype}: {actions!r}")
        expected = (*lead, *self.shape)
        if array.shape != expected:
            raise InvalidAction(f"{what}: expected shape {expected} for {self.space}, got shape {array.shape}")
        # Floats are rounded before they are compared, integers compared before they could wrap around.
        array = array.astype(dtype if dtype.kind == "f" else np.int64)
        if skip is not None and skip.any():
            array[skip] = low
        inside = (array >= low) & (array <= high)  # False for NaN too
        if not inside.all():
            raise InvalidAction(self._describe(array, inside, len(lead), what))
        if self._encoding is not None:
            return self._encoding.encode(array)
        return self._denormalize(array) if self.normalized else array.astype(dtype, copy=False)

    def _denormalize(self, array: np.ndarray) -> np.ndarray:
        low, high = self._native_bounds
        scaled = low + (array.astype(np.float64) + 1.0) * 0.5 * (high.astype(np.float64) - low)
        return np.clip(scaled.astype(low.dtype), low, high)

    def _describe(self, array: np.ndarray, inside: np.ndarray, num_lead: int, what: str) -> str:
        where = tuple(int(i) for i in np.argwhere(~inside)[0])
        row, element = where[:num_lead], where[num_lead:]
        low, high = (np.broadcast_to(bound, self.shape)[element] for bound in self._bounds)
        value = array[where]
        problem = "is NaN" if value != value else f"is out of bounds [{low}, {high}]"
        owner = f" of sub-env {row[0]}" if num_lead == 1 and what == "actions" else f"[{row[0]}]" if row else ""
        at = f"element {element if len(element) > 1 else element[0]} = {value}" if element else f"value {value}"
        return f"{what}{owner}: {array[row]!s} is not in {self.space}: {at} {problem}"


def _bounds(space: spaces.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest valid action, in the dtype actions are cast to."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start, np.int64), np.asarray(space.start + space.n - 1, np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        start = space.start.astype(np.int64)
        return start, start + space.nvec.astype(np.int64) - 1
    return np.zeros(space.shape or (), np.int8), np.ones(space.shape or (), np.int8)
