"""The shapes that stable-worldmodel's solvers use, without that package."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from planners import ActionChange, GoalImage, Reward, StableWorldModelCost
from tests.conftest import ACTION_SPECS
from tests.planners.conftest import SIZE, generator, generators, small_model
from v2w_env.frames import to_model
from world_model.model import WorldModel

B, S, H, T = 2, 5, 3, 3


def images(*lead: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (*lead, *SIZE, 3), dtype=np.uint8))


def repeated(x: Tensor, samples: int = S) -> Tensor:
    """As solvers hand them over."""
    return x[:, None].expand(-1, samples, *x.shape[1:])


@pytest.fixture
def info() -> dict[str, Any]:
    return {"pixels": repeated(images(B, 1)), "goal": repeated(images(B, 1, seed=1)), "id": np.zeros((B, S))}


@pytest.fixture
def candidates() -> Tensor:
    return torch.randn(B, S, H, 2, generator=generator())


class Solver:
    """The calls that the package's CEM makes."""

    def __init__(self, cost: Any) -> None:
        self.cost = cost
        try:
            self.dtype = next(cost.parameters()).dtype
        except (AttributeError, StopIteration):
            self.dtype = torch.float32

    @torch.inference_mode()
    def solve(self, info: dict[str, Tensor]) -> Tensor:
        mean, std = torch.zeros(B, 1, H, 2), torch.ones(B, 1, H, 2)
        expanded = {key: repeated(value, 16) for key, value in info.items()}
        for _ in range(4):
            candidates = mean + std * torch.randn(B, 16, H, 2, generator=generator(), dtype=self.dtype)
            candidates[:, 0] = mean[:, 0]
            costs = self.cost.get_cost(expanded, candidates)
            assert costs.shape == (B, 16) and isinstance(costs, Tensor)
            _, best = torch.topk(costs, k=4, dim=1, largest=False)
            elites = candidates[torch.arange(B)[:, None], best]
            mean, std = elites.mean(1, keepdim=True), elites.std(1, keepdim=True)
        return mean[:, 0]


def test_a_solver_finds_the_actions_with_it(model: WorldModel) -> None:
    def aim(outcome: Any) -> Tensor:
        return -((outcome.actions - torch.tensor([384.0, 128.0])) / 256).square().mean(-1)

    cost = StableWorldModelCost(model, lambda model, goal: Reward(aim))
    solver = Solver(cost)
    assert solver.dtype == torch.float32, "whatever the weights are stored in"
    actions = solver.solve({"pixels": images(B, 1), "goal": images(B, 1, seed=1)})
    torch.testing.assert_close(actions.mean((0, 1)), torch.tensor([0.5, -0.5]), atol=0.25, rtol=0)
    assert not hasattr(cost, "get_action"), "solvers would take it for an actor"


def test_costs_are_those_of_the_objective(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    cost = StableWorldModelCost(model)
    costs = cost.get_cost(info, candidates)
    assert costs.shape == (B, S) and costs.dtype == candidates.dtype and bool((costs > 0).all())
    assert torch.equal(costs, cost.get_cost(info, candidates)), "the noise is the same in each call"
    actions = (256 + 256 * candidates.clamp(-1, 1))[1, 2][None]
    with torch.no_grad():
        rows = generators([1])
        state = model.start(to_model(info["pixels"][1:, 0].numpy()), torch.zeros(1, 0, 2), rows)
        _, latents = model.rollout(state, actions, generators([1]))
        goal = model.encode(to_model(info["goal"][1:, 0].numpy()))[:, 0]
    expected = (latents[:, -1] - goal).square().mean()
    assert float(costs[1, 2]) == pytest.approx(float(expected), rel=1e-3)


def test_images_may_come_in_other_forms(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    cost = StableWorldModelCost(model)
    expected = cost.get_cost(info, candidates)
    forms = {
        "channels first": lambda x: x.movedim(-1, 3),
        "floats": lambda x: x.movedim(-1, 3) / 127.5 - 1,
        "no time": lambda x: x[:, :, 0],
        "numpy": lambda x: x.numpy(),
        "newest of several goals": None,
    }
    for form, change in forms.items():
        if change is None:
            goals = torch.cat([torch.zeros_like(info["goal"]), info["goal"]], dim=2)
            other = {**info, "goal": goals}
        else:
            other = {**info, "pixels": change(info["pixels"]), "goal": change(info["goal"])}
        torch.testing.assert_close(cost.get_cost(other, candidates), expected, atol=1e-4, rtol=1e-4, msg=form)
    large = info["pixels"].repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert cost.get_cost({**info, "pixels": large}, candidates).shape == (B, S)


def test_context_frames_come_with_their_actions(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    cost = StableWorldModelCost(model)
    context = {**info, "pixels": repeated(images(B, T, seed=3))}
    with pytest.raises(ValueError, match="action_history: expected the 2 actions between the frames"):
        cost.get_cost(context, candidates)
    context["action_history"] = repeated(torch.randn(B, T - 1, 2, generator=generator()))
    with_past = cost.get_cost(context, candidates)
    newest = cost.get_cost({**info, "pixels": context["pixels"][:, :, -1:]}, candidates)
    assert with_past.shape == (B, S) and not torch.allclose(with_past, newest)


def test_blocks_of_actions_become_steps(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    seen = []

    def watched(outcome: Any) -> Tensor:
        seen.append(outcome.actions)
        return outcome.latents.flatten(3).mean(-1)

    blocks = torch.randn(B, S, H, 4, generator=generator())
    StableWorldModelCost(model, lambda *_: Reward(watched), action_block=2).get_cost(info, blocks)
    assert seen[0].shape == (B, S, 2 * H, 2)
    torch.testing.assert_close(seen[0][:, :, 1], 256 + 256 * blocks[:, :, 0, 2:].clamp(-1, 1))
    seen.clear()
    own = StableWorldModelCost(model, lambda *_: Reward(watched), to_actions=lambda x: x * 100 + 200)
    own.get_cost(info, candidates)
    torch.testing.assert_close(seen[0], candidates * 100 + 200)


def test_gradients_reach_the_candidates(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    cost = StableWorldModelCost(model, lambda model, goal: GoalImage(model, goal) + 0.1 * ActionChange())
    wanted = (candidates / 4).requires_grad_()
    costs = cost.get_cost(info, wanted)
    assert costs.requires_grad
    costs.sum().backward()
    assert wanted.grad is not None and bool((wanted.grad[:, :, 0].abs() > 0).all())
    assert not cost.get_cost(info, candidates).requires_grad


def test_dynamics(model: WorldModel, info: dict[str, Any], candidates: Tensor) -> None:
    cost = StableWorldModelCost(model)
    context = {**info, "pixels": repeated(images(B, T, seed=3))}
    context["action_history"] = repeated(torch.randn(B, T - 1, 2, generator=generator()))
    size = int(np.prod(model.config.latent_shape))
    encoded = cost.encode({"pixels": context["pixels"][:, 0], "other": 1})
    assert encoded["emb"].shape == (B, T, size) and encoded["other"] == 1
    rolled = cost.rollout(context, candidates)
    assert rolled["predicted_emb"].shape == (B, S, T + H, size)
    torch.testing.assert_close(rolled["predicted_emb"][:, 0, :T], encoded["emb"], atol=1e-5, rtol=1e-5)
    rolled["goal_emb"] = cost.encode({"pixels": info["goal"][:, 0]})["emb"]
    torch.testing.assert_close(
        cost.criterion(rolled, candidates), cost.get_cost(context, candidates), atol=1e-4, rtol=1e-4
    )
    assert "predicted_emb" not in context, "what was given stays as it was"
    # The names by which the package calls them.
    for name, first in (
        ("get_cost", "info_dict"),
        ("criterion", "info_dict"),
        ("rollout", "info_dict"),
        ("encode", "x"),
    ):
        assert next(iter(inspect.signature(getattr(cost, name)).parameters)) == first


def test_discrete_actions_are_indices(info: dict[str, Any]) -> None:
    cost = StableWorldModelCost(small_model(ACTION_SPECS["discrete"]))
    indices = torch.randint(5, (B, S, H, 1), generator=generator())
    costs = cost.get_cost(info, indices.float())
    assert costs.shape == (B, S) and torch.equal(costs, cost.get_cost(info, indices.float() + 0.2))
    assert torch.equal(costs, cost.get_cost(info, torch.nn.functional.one_hot(indices[..., 0], 5).float()))


if importlib.util.find_spec("stable_worldmodel"):  # not among this project's own requirements

    def test_the_packages_own_solver(model: WorldModel) -> None:
        from stable_worldmodel.policy import PlanConfig
        from stable_worldmodel.solver import CEMSolver

        solver = CEMSolver(StableWorldModelCost(model), batch_size=B, num_samples=16, n_steps=2, topk=4)
        space = gym.vector.utils.batch_space(gym.spaces.Box(0, 512, (2,), np.float32), B)
        solver.configure(action_space=space, n_envs=B, config=PlanConfig(horizon=H, receding_horizon=1))
        info = {"pixels": images(B, 1), "goal": images(B, 1, seed=1)}
        assert solver.solve(info)["actions"].shape == (B, H, 2)


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({}, (B, S, H, 3), r"action_candidates: expected \[B S H 2\]"),
        ({}, (B, 0, H, 2), "none of them 0"),
        ({}, (B, S, 2), "action_candidates"),
        ({"goal": None}, (B, S, H, 2), "info_dict: expected 'goal', got pixels, id"),
        ({"pixels": torch.zeros(B, S, 8, 8)}, (B, S, H, 2), r"pixels: expected images \[B S T 3 h w\]"),
        ({"pixels": torch.full((B, S, 1, 3, 8, 8), 200.0)}, (B, S, H, 2), "floats in .-1, 1., got floats up to 200"),
        ({"pixels": torch.zeros(3, S, 1, 3, 8, 8)}, (B, S, H, 2), "pixels: expected 2 environments .* got 3"),
    ],
)
def test_mistakes_are_named(
    model: WorldModel, info: dict[str, Any], change: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    given = {key: value for key, value in {**info, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        StableWorldModelCost(model).get_cost(given, torch.zeros(shape))


def test_what_has_to_come_first(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="expected predicted_emb and goal_emb; call rollout"):
        StableWorldModelCost(model).criterion({})
    with pytest.raises(ValueError, match="action_block: expected 1 or more"):
        StableWorldModelCost(model, action_block=0)
