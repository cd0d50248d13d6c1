"""Goals as states that a probe reads off frames."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any, cast

import numpy as np
import pytest
import torch
from einops import rearrange

from planners import CEM, CEMConfig, GoalState, Outcome
from tests.planners.conftest import SIZE, generator, make_state, small_model
from v2w_env.frames import to_model
from world_model.model import WorldModel
from world_model.state_probe import StateProbe, StateProbeConfig

PROBE = StateProbeConfig(("place", "angle"), (2, 1), angles=(2,), channels=8, features=16)


@pytest.fixture(scope="module")
def probing() -> WorldModel:
    model = small_model()
    torch.manual_seed(0)
    model.config = replace(model.config, state_probe=PROBE)
    model.state_probe = StateProbe(PROBE, model.config.latent_shape)
    model.state_probe.set_statistics(torch.rand(50, 3) * torch.tensor([100.0, 20.0, 1.0]))
    model.requires_grad_(False)
    return model


def outcome(model: WorldModel, b: int = 2, n: int = 3, h: int = 4) -> Outcome:
    g = generator(1)
    latents = torch.randn(b, n, h, *model.config.latent_shape, generator=g)
    actions = torch.rand(b, n, h, 2, generator=g) * 512
    return Outcome(latents, actions, actions[:, :, 0], model)


def test_the_cost_is_the_mean_square_in_tolerances(probing: WorldModel) -> None:
    seen, probe = outcome(probing), cast(StateProbe, probing.state_probe)
    states, doubts = (x.unflatten(0, (2, 3, 4)) for x in probe(rearrange(seen.latents, "b n h c y x -> (b n h) c y x")))
    goal = states[1, 2, 3].numpy() + np.array([20.0, 0.0, 2 * math.pi], np.float32)
    costs = GoalState(probing, goal, tolerance=(10, 5, 0.1), doubt=0).per_step(seen)
    assert costs.shape == (2, 3, 4) and float(costs[1, 2, 3]) == pytest.approx(4 / 3, rel=1e-3)
    apart = probe.difference(states, torch.as_tensor(goal)) / torch.tensor([10.0, 5.0, 0.1])
    torch.testing.assert_close(costs, apart.square().mean(-1))
    expected = GoalState(probing, goal, tolerance=(10, 5, 0.1), doubt=2).per_step(seen)
    torch.testing.assert_close(expected - costs, 2 * (doubts / torch.tensor([10.0, 5.0, 0.1])).square().mean(-1))
    one = GoalState(probing, goal, tolerance=10.0, doubt=0).per_step(seen)
    assert not torch.allclose(one, costs)
    first = GoalState(probing, goal, tolerance=(10, 5, 0.1), doubt=0, weights=(3.0, 1e-9, 1e-9)).per_step(seen)
    torch.testing.assert_close(first, apart[..., 0].square())
    own = GoalState(probing, goal, doubt=0).per_step(seen)
    torch.testing.assert_close(own, (apart * torch.tensor([10.0, 5.0, 0.1]) / probe.deviation).square().mean(-1))


def test_a_goal_can_be_reached_or_not(probing: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = cast(StateProbe, probing.state_probe)
    states = torch.tensor([[9.0, 0.0, 0.0], [11.0, 0.0, 0.0], [11.0, 0.0, 0.0], [0.0, 0.0, 2 * math.pi]])
    doubts = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    monkeypatch.setattr(probe, "forward", lambda latents: (states, doubts))
    seen = outcome(probing, 1, 1, 4)
    goal = np.zeros(3, np.float32)
    plain = GoalState(probing, goal, tolerance=(10.0, 5.0, 0.1)).per_step(seen)
    missed = (GoalState(probing, goal, tolerance=(10.0, 5.0, 0.1), failure=2.0).per_step(seen) - plain)[0, 0] / 2
    half = NormalDist(11, 5).cdf(10) - NormalDist(11, 5).cdf(-10)
    torch.testing.assert_close(missed, torch.tensor([0.0, 1.0, 1 - half, 0.0]), atol=1e-4, rtol=0)


def test_an_image_is_reached_by_itself_and_nothing_is_decoded(
    probing: WorldModel, goal: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = outcome(probing)
    seen.latents[1, 2, -1] = probing.encode(to_model(goal[None, None]))[0, 0]
    monkeypatch.setattr(probing, "decode", lambda latents: pytest.fail("decoded"))
    costs = GoalState(probing, goal, doubt=0)(seen)
    assert costs.shape == (2, 3) and float(costs[1, 2]) == pytest.approx(0, abs=1e-6)
    assert (costs.flatten()[:-1] > 1e-6).all()


def test_real_frames_of_another_world_are_encoded(probing: WorldModel, goal: np.ndarray) -> None:
    other = small_model()
    seen = outcome(probing, 1, 1, 1)
    frames = to_model(goal[None, None, None])
    real = replace(seen, model=other, latents=torch.full_like(seen.latents, torch.nan), seen=frames)
    assert float(GoalState(probing, goal, doubt=0)(real)) == pytest.approx(0, abs=1e-6)


def test_each_environment_has_its_goal(probing: WorldModel) -> None:
    seen = outcome(probing)
    goals = np.array([[1.0, 2.0, 3.0], [50.0, 2.0, 0.0]], np.float32)
    both = GoalState(probing, goals)
    torch.testing.assert_close(both.select([1])(replace_rows(seen, [1])), both(seen)[1:])
    single = GoalState(probing, goals[0])
    assert single.select([1]) is single
    with pytest.raises(ValueError, match="one per environment"):
        GoalState(probing, np.concatenate([goals, goals]))(seen)


def replace_rows(seen: Outcome, rows: list[int]) -> Outcome:
    return replace(seen, latents=seen.latents[rows], actions=seen.actions[rows], before=seen.before[rows])


def test_a_planner_searches_with_it(probing: WorldModel) -> None:
    state = make_state(probing, 2)
    objective = GoalState(probing, np.array([30.0, 10.0, 0.5], np.float32), over="best")
    planner = CEM(probing, objective, CEMConfig(horizon=2, num_candidates=6, num_iterations=2, num_elites=2))
    plan = planner.plan(state, generator())
    assert plan.actions.shape == (2, 2, 2) and plan.cost.isfinite().all()
    assert torch.equal(plan.actions, planner.plan(state, generator()).actions)


@pytest.mark.parametrize(
    ("goal", "changes", "match"),
    [
        (np.zeros((9, 8, 3), np.uint8), {}, "goal"),
        (np.zeros(4, np.float32), {}, r"state of 3 numbers \(place.0, place.1, angle\)"),
        (np.array([0.0, np.nan, 0.0]), {}, "finite state"),
        (np.zeros(3), {"tolerance": 0.0}, "tolerance"),
        (np.zeros(3), {"tolerance": (1.0, 2.0)}, "tolerance: expected 3 positive"),
        (np.zeros(3), {"over": "some"}, "over"),
        (np.zeros(3), {"doubt": -1.0}, "doubt"),
        (np.zeros(3), {"failure": -1.0}, "failure"),
        (np.zeros(3), {"weights": (1.0, 2.0)}, "weights: expected 3 positive"),
    ],
)
def test_what_does_not_fit_is_refused(
    probing: WorldModel, goal: np.ndarray, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        GoalState(probing, goal, **changes)


def test_a_model_without_probe_is_refused(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="state probe; train one with"):
        GoalState(model, np.zeros((*SIZE, 3), np.uint8))
