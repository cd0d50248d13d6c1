"""Policies by name: what acts while recording."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from v2w_env.collect.doom_policy import doom_ends, doom_mix
from v2w_env.collect.pusht_policy import pusht_dashing, pusht_mix, pusht_planning, pusht_turning

Policy = Callable[[Any, dict[str, Any]], Any]
F = TypeVar("F", bound=Callable[..., Any])
PolicyFactory = Callable[[gym.Env, np.random.Generator], Policy]


def random_policy(env: gym.Env, rng: np.random.Generator) -> Policy:
    """Samples of the action space of `env`, drawn from `rng` alone."""
    space = copy.deepcopy(env.action_space)
    space.seed(int(rng.integers(2**31)))
    return lambda observation, info: space.sample()


POLICIES: dict[str, PolicyFactory] = {
    "random": random_policy,
    "pusht_mix": pusht_mix,
    "pusht_planning": pusht_planning,
    "pusht_dashing": pusht_dashing,
    "pusht_turning": pusht_turning,
    "doom_mix": doom_mix,
    "doom_ends": doom_ends,
}


def resolve_policy(name: str) -> PolicyFactory:
    """The policy factory called `name`: a key of `POLICIES`, or "module:function" of your own.

    A factory is called as `factory(env, rng)` once per episode, after the reset, and returns
    `policy(observation, info) -> action`. All its randomness must come from `rng` (a NumPy generator), so that an
    episode is the same whichever worker records it.

    Raises:
        ValueError: if the name is unknown or the import path does not lead to a callable.
    """
    return named_function("policy", name, POLICIES, "(env, rng) -> policy")


def named_function(setting: str, name: str, known: Mapping[str, F], form: str) -> F:
    """What a setting names: a key of `known`, or "module:function", of the form that errors speak of.

    Raises:
        ValueError: if the name is unknown or the import path does not lead to a callable.
    """
    if name in known:
        return known[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"{setting}: expected one of {sorted(known)} or 'module:function', got {name!r}")
    try:
        function: F = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{setting}: cannot import {name!r} ({error}); is the module on PYTHONPATH?") from error
    if not callable(function):
        raise ValueError(f"{setting}: expected {name!r} to be a function {form}, got {type(function)}")
    return function
