"""Searching in blocks of actions."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from planners import CEM, ICEM, MPC, MPPI, CEMConfig, GoalImage, GradientPlanner, MPCConfig, Outcome, Reward
from planners.gradient import GradientConfig
from planners.icem import ICEMConfig
from planners.mppi import MPPIConfig
from planners.waypoints import WaypointSpace, box_space
from tests.conftest import PUSHT_ACTIONS
from tests.planners.conftest import SIZE, generator, make_state, small_model
from world_model.model import WorldModel

BLOCK = 4


@pytest.fixture(scope="module")
def blocks() -> WorldModel:
    model = small_model(PUSHT_ACTIONS.block(BLOCK))
    model.config = replace(model.config, action_block=BLOCK)
    return model


def test_paths_lead_through_the_points() -> None:
    space = WaypointSpace(PUSHT_ACTIONS.block(BLOCK), BLOCK, "glide")
    points = torch.rand(3, 5, 2) * 2 - 1
    before = torch.rand(3, 2) * 2 - 1
    paths = space.paths(points, before)
    assert paths.shape == (3, 5, BLOCK * 2)
    assert torch.allclose(space.from_actions(paths), points, atol=1e-6)
    # From anywhere on, actions move evenly.
    line = torch.cat([space.to_actions(before)[:, None], paths.reshape(3, 5 * BLOCK, 2)], 1)
    steps = line.diff(dim=1).reshape(3, 5, BLOCK, 2)
    assert torch.allclose(steps, steps[:, :, :1].expand_as(steps), atol=1e-3)
    held = WaypointSpace(PUSHT_ACTIONS.block(BLOCK), BLOCK, "hold").paths(points, before).reshape(3, 5, BLOCK, 2)
    assert torch.equal(held, held[:, :, :1].expand_as(held))


def test_only_blocks_are_searched_through_waypoints(model: WorldModel, blocks: WorldModel) -> None:
    assert not isinstance(box_space(model.config, "glide", None, None), WaypointSpace)
    assert box_space(blocks.config, "free", None, None).columns == BLOCK * 2
    assert box_space(blocks.config, "glide", None, None).columns == 2
    with pytest.raises(ValueError, match="within_block: expected one of"):
        CEMConfig(within_block="jump")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("planner", "config"),
    [
        (CEM, CEMConfig(horizon=3, num_candidates=32, num_iterations=6, start="hold")),
        (ICEM, ICEMConfig(horizon=3, num_candidates=32, num_iterations=6)),
        (MPPI, MPPIConfig(horizon=3, num_candidates=64, num_iterations=6)),
        (GradientPlanner, GradientConfig(horizon=3, num_candidates=2, num_iterations=30)),
    ],
)
def test_planners_find_where_to_go(blocks: WorldModel, planner: type, config: object) -> None:
    target = torch.tensor([128.0, 384.0])

    def near(outcome: Outcome) -> torch.Tensor:
        return -((outcome.actions[..., -2:] - target) / 256).square().mean(-1)

    state = make_state(blocks, 2)
    plan = planner(blocks, Reward(near), config).plan(state, generator())
    assert plan.actions.shape == (2, 3, BLOCK * 2)
    assert (plan.actions[:, -1, -2:] - target).abs().max() < 60
    warm = planner(blocks, Reward(near), config).plan(state, generator(), plan.after(1))
    assert (warm.cost <= plan.cost + 0.05).all()


class Square(gym.Env):
    """Takes single actions and shows the last one."""

    action_space = gym.spaces.Box(0.0, 512.0, (2,), np.float32)
    observation_space = gym.spaces.Box(0, 255, (*SIZE, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.taken: list[np.ndarray] = []
        return np.zeros((*SIZE, 3), np.uint8), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.taken.append(action)
        return np.full((*SIZE, 3), len(self.taken), np.uint8), 1.0, False, False, {}


def test_mpc_gives_single_actions_to_a_simulator(blocks: WorldModel) -> None:
    env, goal = Square(), np.zeros((*SIZE, 3), np.uint8)
    config = CEMConfig(horizon=3, num_candidates=4, num_iterations=1, num_elites=2)
    mpc = MPC(CEM(blocks, GoalImage(blocks, goal), config), MPCConfig(num_steps=3, replan_every=2))
    result = mpc.run(env, generator())
    assert len(env.taken) == 3 * BLOCK and result.actions[0].shape == (3, BLOCK, 2)
    assert np.array_equal(np.concatenate(result.actions[0]), env.taken)
    assert result.rewards.tolist() == [[BLOCK] * 3]


def test_best_step_counts(model: WorldModel) -> None:
    def place(outcome: Outcome) -> torch.Tensor:
        return -outcome.actions[..., 0]

    state, actions = make_state(model, 1), torch.tensor([[[[3.0, 0], [1.0, 0], [2.0, 0]]]])
    outcome = Outcome(state.latent[:, None, None].expand(-1, 1, 3, -1, -1, -1), actions, actions[:, :, 0], model)
    assert Reward(place, over="best")(outcome).item() == 1.0
    assert Reward(place, over="last")(outcome).item() == 2.0
