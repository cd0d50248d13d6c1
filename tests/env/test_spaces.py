"""Action spaces, and what a bad action gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded

from v2w_env import EnvConfig, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import EpisodeSource
from v2w_env.spaces import ActionAdapter, space_from_spec
from world_model.data.minari_dataset import action_spec
from world_model.model import WorldModel

SPACES: list[spaces.Space[Any]] = [
    spaces.Box(0.0, 512.0, (2,), np.float32),
    spaces.Box(np.array([[-1.0, 0.0]]), np.array([[1.0, 5.0]]), dtype=np.float64),
    spaces.Discrete(4),
    spaces.Discrete(4, start=-1),
    spaces.MultiDiscrete([3, 5]),
    spaces.MultiDiscrete([[3, 5], [2, 2]], start=[[1, 0], [0, 2]]),
    spaces.MultiBinary(3),
    spaces.MultiBinary((2, 2)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces_survive_the_round_trip(space: spaces.Space[Any]) -> None:
    spec = action_spec(space)
    assert space_from_spec(spec) == space
    adapter = ActionAdapter(spec)
    samples = np.array([space.sample() for _ in range(5)])
    native = adapter.check(samples, (5,))
    assert np.array_equal(native, samples)
    assert np.allclose(spec.to_native(spec.to_tensor(native)), samples)


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="expected Box, Discrete, MultiDiscrete or MultiBinary"):
        action_spec(spaces.Text(3))


def test_what_casts_without_loss_is_taken() -> None:
    box, discrete, binary = (ActionAdapter(action_spec(SPACES[i])) for i in (0, 2, 6))
    for value in ([[1, 2]], np.array([[1.0, 2.0]]), np.array([[1, 2]], np.uint8), torch.tensor([[1.0, 2.0]])):
        assert box.check(value, (1,)).dtype == np.float32
    assert discrete.check(3, ()) == 3 and discrete.check(np.array([1], np.uint8), (1,)).tolist() == [1]
    assert binary.check([True, False, True], ()).tolist() == [1, 0, 1]


def test_normalized_actions() -> None:
    adapter = ActionAdapter(action_spec(SPACES[0]), "normalized")
    assert adapter.space == spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert adapter.check([[-1, 1], [0, 0.5]], (2,)).tolist() == [[0, 512], [256, 384]]
    for space in (spaces.Discrete(2), spaces.Box(-np.inf, np.inf, (2,))):
        with pytest.raises(ValueError, match="expected a bounded Box"):
            ActionAdapter(action_spec(space), "normalized")


GOOD = [[1.0, 2.0], [3.0, 4.0]]
BAD_ACTIONS: list[tuple[Any, str]] = [
    ([1.0, 2.0], r"expected shape \(2, 2\) for Box.*got shape \(2,\)"),
    ([[1.0, 2.0]], r"expected shape \(2, 2\).*got shape \(1, 2\)"),
    ([[1.0], [2.0]], r"expected shape \(2, 2\).*got shape \(2, 1\)"),
    ([[1.0, 2.0], [np.nan, 4.0]], r"sub-env 1: .*Box\(0.0, 512.0, \(2,\), float32\): element 0 = nan is NaN"),
    ([[1.0, 513.0], [3.0, 4.0]], r"sub-env 0: .*element 1 = 513.0 is out of bounds \[0.0, 512.0\]"),
    ([[1.0, 2.0], [-np.inf, 4.0]], r"sub-env 1: .*out of bounds"),
    ([["a", "b"], ["c", "d"]], "expected numbers"),
    ([[1j, 2.0], [3.0, 4.0]], "expected numbers for Box.*complex"),
    ([[1.0, 2.0], [3.0]], "expected an array"),
    (None, "expected numbers"),
]


@pytest.mark.parametrize(("actions", "message"), BAD_ACTIONS, ids=[str(a) for a, _ in BAD_ACTIONS])
def test_bad_actions_change_nothing(model: WorldModel, source: EpisodeSource, actions: Any, message: str) -> None:
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 2)
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(InvalidAction, match=message):
        env.step(actions)
    after = env.step(np.array(GOOD, np.float32))[0]
    env.set_state(state)
    assert np.array_equal(env.step(np.array(GOOD, np.float32))[0], after)


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (SPACES[2], 4, r"4 is not in Discrete\(4\): value 4 is out of bounds \[0, 3\]"),
        (SPACES[2], 1.0, "expected integers for Discrete.*float64"),
        (SPACES[2], [1], r"expected shape \(\)"),
        (SPACES[3], -2, r"out of bounds \[-1, 2\]"),
        (SPACES[4], [2, 5], r"element 1 = 5 is out of bounds \[0, 4\]"),
        (SPACES[6], [0, 2, 1], r"element 1 = 2 is out of bounds \[0, 1\]"),
    ],
)
def test_bad_single_actions(space: spaces.Space[Any], action: Any, message: str) -> None:
    with pytest.raises(InvalidAction, match=message):
        ActionAdapter(action_spec(space)).check(action, (), "action")


def test_large_integers_do_not_wrap_around() -> None:
    for space, action in ((SPACES[6], [0, 256, 1]), (spaces.Box(0, 255, (1,), np.uint8), [300])):
        with pytest.raises(InvalidAction, match="out of bounds"):
            ActionAdapter(action_spec(space)).check(action, (), "action")


def test_steps_out_of_order(model: WorldModel, source: EpisodeSource) -> None:
    config = EnvConfig(checkpoint=model, reset_source=source, render_mode="rgb_array")
    vector, single = Vid2WorldVectorEnv(config, 2), Vid2WorldEnv(config)
    for call in (lambda: vector.step(np.array(GOOD)), lambda: single.step(GOOD[0]), vector.render, single.render):
        with pytest.raises(ResetNeeded):
            call()
    vector.close()
    single.close()
    for call in (lambda: vector.step(np.array(GOOD)), lambda: single.step(GOOD[0]), vector.reset, single.reset):
        with pytest.raises(ClosedEnvironmentError):
            call()
