"""Anything that acts, behind one interface: SB3 agents, Python callables, recorded actions, random ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from agents.loading import load_agent
from agents.sb3_policy import Encode, SB3Policy
from v2w_env.spaces import ActionAdapter, space_from_spec
from world_model.config import WorldModelConfig
from world_model.types import ActionSpec

FramesToActions = Callable[[np.ndarray], Any]


@runtime_checkable
class Policy(Protocol):
    """Acts in many episodes at once.

    Each episode has a row, a small number that it keeps from :meth:`reset` to its end; whatever a policy remembers, it
    remembers by row. Calls may name any of the rows, in any order.
    """

    def reset(self, rows: Sequence[int]) -> None:
        """New episodes begin in ``rows``: forget the old ones."""
        ...

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Actions ``[n *shape]``, in the simulator's units, for the newest frames uint8 ``[n h w 3]`` of ``rows``."""
        ...


class RandomPolicy:
    """Samples of the action space; every row has a stream of its own, which runs on from episode to episode."""

    def __init__(self, spec: ActionSpec, seed: int = 0) -> None:
        self._spec, self._seed = spec, seed
        self._spaces: dict[int, Any] = {}

    def reset(self, rows: Sequence[int]) -> None:
        for row in set(rows) - set(self._spaces):
            self._spaces[row] = space_from_spec(self._spec)
            self._spaces[row].seed(int(np.random.SeedSequence([self._seed, row]).generate_state(1)[0]))

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        return np.stack([self._spaces[row].sample() for row in rows])


class FunctionPolicy:
    """A callable without memory: frames uint8 ``[n h w 3]`` -> actions ``[n *shape]`` in the simulator's units."""

    def __init__(self, function: FramesToActions, spec: ActionSpec) -> None:
        self._function, self._adapter = function, ActionAdapter(spec)

    def reset(self, rows: Sequence[int]) -> None:
        pass

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Raises :class:`gymnasium.error.InvalidAction` where the function returns anything but valid actions."""
        return self._adapter.check(self._function(frames), (len(rows),))


class RecordedActions:
    """Plays action sequences: row ``i`` the ``i``-th one, from its beginning in every episode.

    Args:
        sequences: Arrays ``[t *shape]`` in the simulator's units; with more rows than sequences they are shared.
        spec: The world model's actions.

    Raises:
        ValueError: No sequence.
        gymnasium.error.InvalidAction: One that holds other actions than the world's.
    """

    def __init__(self, sequences: Sequence[np.ndarray], spec: ActionSpec) -> None:
        if not len(sequences):
            raise ValueError("recorded actions: expected at least one sequence [t *shape], got none")
        adapter = ActionAdapter(spec)
        self._sequences = [
            adapter.check(sequence, (len(sequence),), f"recorded actions {i}") for i, sequence in enumerate(sequences)
        ]
        self._played: dict[int, int] = {}

    def reset(self, rows: Sequence[int]) -> None:
        self._played.update((row, 0) for row in rows)

    def act(self, frames: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Raises :class:`ValueError` past the end of a sequence."""
        actions = []
        for row in rows:
            sequence, step = self._sequences[row % len(self._sequences)], self._played[row]
            if step >= len(sequence):
                raise ValueError(f"recorded actions: row {row} has played all {len(sequence)}; use a shorter horizon")
            actions.append(sequence[step])
            self._played[row] = step + 1
        return np.stack(actions)


def load_policy(
    source: Any,
    world: WorldModelConfig,
    encode: Encode | None = None,
    deterministic: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> Policy:
    """A policy from whatever names one.

    Args:
        source: A :class:`Policy`; an SB3 model or the ``.zip`` it was saved to (a pickle: load only what you trust);
            a callable frames -> actions, or its ``"module:name"``; recorded actions, an array or ``.npy`` of
            ``[t *shape]`` or ``[n t *shape]``, or a list of arrays; or ``"random"``.
        world: The world model's configuration.
        encode: Frames -> latents, for agents trained with latent observations: :func:`agents.real.encoder`.
        deterministic: Whether SB3 agents take their likeliest action or sample.
        seed: For random actions.
        device: For SB3 agents.

    Raises:
        ValueError: None of these, or one that does not fit the world.
        FileNotFoundError: A file that does not exist.
    """
    if isinstance(source, Policy):
        return source
    if isinstance(source, (str, Path)):
        source = _named(str(source), world, seed, device)
        if isinstance(source, Policy):
            return source
    if hasattr(source, "predict") and hasattr(source, "observation_space"):
        return SB3Policy(source, world, encode, deterministic)
    if isinstance(source, (np.ndarray, list, tuple)):
        one = len(source) > 0 and np.ndim(source[0]) == len(world.actions.shape)
        sequences = [source] if one else source
        return RecordedActions([np.asarray(sequence) for sequence in sequences], world.actions)
    if callable(source):
        return FunctionPolicy(source, world.actions)
    raise ValueError(f"agent: expected a policy, an SB3 model, a callable or recorded actions, got {source!r}")


def _named(name: str, world: WorldModelConfig, seed: int, device: str) -> Any:
    if name == "random":
        return RandomPolicy(world.actions, seed)
    if name.endswith(".zip"):
        return load_agent(name, device)
    if name.endswith(".npy"):
        return np.load(name, allow_pickle=False)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"agent: expected FILE.zip, random, ACTIONS.npy or module:name, got {name!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"agent: cannot import {name!r} ({error}); is the module on PYTHONPATH?") from error
