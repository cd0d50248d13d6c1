"""Control of real environments: one, many and vectorised; what is seen, planned and reported."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from planners import CEM, ICEM, MPC, CEMConfig, GoalImage, ICEMConfig, MPCConfig, MPCStep, Outcome, Planner, Reward
from planners.history import History
from planners.real import open_envs
from tests.conftest import ACTION_SPECS
from tests.planners.conftest import SIZE, TARGET, generator, generators, near_target, small_model
from v2w_env import EnvConfig, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import ImageSource, Start
from world_model.model import WorldModel


class Dot(gym.Env):
    """A dark dot that jumps to where the action says; the episode ends after ``length`` steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, length: int = 100, size: tuple[int, int] = SIZE, pixels: bool = True) -> None:
        self.length, self.size, self.pixels = length, size, pixels
        self.action_space = gym.spaces.Box(0, 512, (2,), np.float32)
        image = gym.spaces.Box(0, 255, (*size, 3), np.uint8)
        self.observation_space = image if pixels else gym.spaces.Box(0, 512, (2,), np.float32)
        self.render_mode = "rgb_array"
        self.taken: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = np.asarray((options or {}).get("place", self.np_random.uniform(0, 512, 2)), np.float32)
        self.count = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.taken.append(action)
        self.place, self.count = action.copy(), self.count + 1
        return self._observe(), 1.0, self.count >= self.length, False, {"place": self.place}

    def render(self) -> np.ndarray:
        frame = np.full((*self.size, 3), 255, np.uint8)
        row, column = (np.minimum(self.place, 511) / 512 * self.size).astype(int)
        frame[row, column] = 0
        return frame

    def _observe(self) -> np.ndarray:
        return self.render() if self.pixels else self.place


@pytest.fixture
def planner(model: WorldModel) -> Planner[Any]:
    config = CEMConfig(horizon=3, num_candidates=16, num_elites=4, num_iterations=4, initial_std=1.0)
    return CEM(model, Reward(near_target), config)


def test_one_environment_is_led_to_where_the_objective_wants_it(planner: Planner[Any]) -> None:
    env, seen = Dot(), []
    result = MPC(planner, MPCConfig(num_steps=5, replan_every=2)).run(env, generator(), seed=0, progress=seen.append)
    assert [step.plan_step for step in seen] == [0, 1, 0, 1, 0]
    assert result.frames[0].shape == (6, *SIZE, 3) and result.actions[0].shape == (5, 2)
    assert np.abs(result.actions[0][-3:] - TARGET.numpy()).mean() < 60
    assert np.array_equal(np.stack(env.taken), result.actions[0])
    assert result.planning_seconds.shape == (3,) and result.plan_costs.shape == (1, 3)
    assert result.rewards.tolist() == [[1.0] * 5]
    assert result.imagined_steps == 3 * 4 * 16 * 3
    assert not result.arrived.any()


@pytest.mark.parametrize(("shrink", "horizons"), [(True, [3, 3, 2, 1]), (False, [3, 3, 3, 3])])
def test_plans_may_end_where_the_budget_does(planner: Planner[Any], shrink: bool, horizons: list[int]) -> None:
    seen: list[MPCStep] = []
    mpc = MPC(planner, MPCConfig(num_steps=4, shrink_horizon=shrink))
    result = mpc.run(Dot(), generator(), seed=0, progress=seen.append)
    assert [step.plan.horizon for step in seen] == horizons and planner.config.horizon == 3
    assert result.imagined_steps == 4 * 16 * sum(horizons)


def test_predicted_and_real_costs_are_of_the_same_step(model: WorldModel, planner: Planner[Any]) -> None:
    # This objective knows nothing but the action, so imagination cannot be wrong about it.
    result = MPC(planner, MPCConfig(num_steps=4, replan_every=2)).run([Dot(), Dot()], generator(), seed=0)
    np.testing.assert_allclose(result.predicted_costs, result.real_costs, atol=1e-5)
    assert result.correlation == pytest.approx(1, abs=1e-4)
    place = ((result.actions[1] - TARGET.numpy()) / 256) ** 2
    np.testing.assert_allclose(result.real_costs[1], place.mean(1), rtol=1e-4)


def test_real_costs_look_at_the_real_frames(model: WorldModel, goal: np.ndarray) -> None:
    config = CEMConfig(horizon=2, num_candidates=4, num_elites=2, num_iterations=1)
    seen: list[MPCStep] = []
    frames = Dot(size=SIZE)
    mpc = MPC(CEM(model, GoalImage(model, goal, "pixels"), config), MPCConfig(num_steps=2))
    mpc.run(frames, generator(), seed=0, progress=seen.append)
    for step in seen:
        wanted = (np.square((step.real.frames[0].astype(float) - goal) / 255)).mean()
        assert step.real_costs[0] == pytest.approx(wanted, rel=1e-3)
        assert step.predicted_costs[0] != pytest.approx(wanted, rel=1e-3)


def test_the_world_model_is_told_what_was_really_seen_and_done(
    planner: Planner[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[torch.Tensor, torch.Tensor]] = []
    start = planner.model.start

    def watched(frames: torch.Tensor, actions: torch.Tensor, *rest: Any) -> Any:
        told.append((frames, actions))
        return start(frames, actions, *rest)

    monkeypatch.setattr(planner.model, "start", watched)
    result = MPC(planner, MPCConfig(num_steps=5, context_frames=3)).run(Dot(), generator(), seed=0)
    assert [frames.shape[1] for frames, _ in told] == [1, 2, 3, 3, 3]
    frames, actions = told[-1]
    shown = ((frames[0].permute(0, 2, 3, 1) + 1) * 127.5).round().numpy().astype(np.uint8)
    assert np.array_equal(shown, result.frames[0][2:5])
    assert np.array_equal(actions[0].numpy(), result.actions[0][2:4])


def test_a_history_comes_before_the_first_frame(planner: Planner[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    start = planner.model.start

    def watched(frames: torch.Tensor, *rest: Any) -> Any:
        lengths.append(frames.shape[1])
        return start(frames, *rest)

    monkeypatch.setattr(planner.model, "start", watched)
    rng = np.random.default_rng(0)
    past = [
        Start(rng.integers(0, 256, (t, *SIZE, 3), dtype=np.uint8), rng.uniform(0, 512, (t, 2)).astype(np.float32))
        for t in (2, 0)
    ]
    mpc = MPC(planner, MPCConfig(num_steps=1))
    mpc.run([Dot(), Dot()], generator(), seed=0, history=past)
    assert sorted(lengths) == [1, 3]
    with pytest.raises(ValueError, match="history: expected one start per environment .2., got 1"):
        mpc.run([Dot(), Dot()], generator(), history=past[:1])
    wrong = [Start(past[0].frames, past[0].actions[:1]), past[1]]
    with pytest.raises(ValueError, match="and t actions in environment 0, got"):
        mpc.run([Dot(), Dot()], generator(), history=wrong)


def test_environments_that_end_or_arrive_drop_out(model: WorldModel) -> None:
    goals = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    config = CEMConfig(horizon=2, num_candidates=4, num_elites=2, num_iterations=1)
    mpc = MPC(CEM(model, GoalImage(model, goals), config), MPCConfig(num_steps=4, replan_every=2))
    envs, rows = [Dot(length=3), Dot(), Dot()], []

    def arrived(step: MPCStep) -> list[bool]:
        rows.append(step.rows)
        assert [info["place"].shape for info in step.real.infos] == [(2,)] * len(step.rows)
        return [row == 1 and step.index == 0 for row in step.rows]

    result = mpc.run(envs, generators([0, 1, 2]), seed=0, until=arrived)
    assert rows == [(0, 1, 2), (0, 2), (0, 2), (2,)]
    assert [len(env.taken) for env in envs] == [3, 1, 4]
    assert result.arrived.tolist() == [False, True, False]
    assert [len(frames) for frames in result.frames] == [4, 2, 5]
    assert np.isnan(result.real_costs).tolist() == [[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert np.isnan(result.plan_costs).tolist() == [[False, False], [False, True], [False, False]]
    # Nobody's plan depends on who else is there.
    alone = MPC(mpc.planner.with_objective(GoalImage(model, goals[2])), mpc.config).run(Dot(), generator(2), seed=2)
    np.testing.assert_allclose(alone.actions[0], result.actions[2], atol=1.0)


def test_the_same_seed_gives_the_same_episode(planner: Planner[Any]) -> None:
    mpc = MPC(planner, MPCConfig(num_steps=3))
    first, again = (mpc.run([Dot(), Dot()], generator(5), seed=1) for _ in range(2))
    assert all(
        np.array_equal(a, b) for a, b in zip(first.frames + first.actions, again.frames + again.actions, strict=True)
    )
    assert not np.array_equal(first.frames[0], first.frames[1]), "environment i is reset with seed + i"


def test_plans_start_from_what_is_left_of_the_last_one(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ICEMConfig(horizon=3, num_candidates=8, num_elites=4, num_iterations=1)
    planner, given = ICEM(model, Reward(near_target), config), []
    plan = ICEM.plan

    def watched(self: Any, state: Any, generator: Any, warm_start: Any = None, progress: Any = None) -> Any:
        given.append(warm_start)
        return plan(self, state, generator, warm_start, progress)

    monkeypatch.setattr(ICEM, "plan", watched)
    MPC(planner, MPCConfig(num_steps=5, replan_every=2)).run(Dot(), generator(), seed=0)
    assert given[0] is None
    assert [w.actions.shape[1] for w in given[1:]] == [1, 1] and given[1].elites is not None
    given.clear()
    MPC(planner, MPCConfig(num_steps=2, warm_start=False)).run(Dot(), generator(), seed=0)
    assert given == [None, None]


def test_frames_come_from_the_renderer_and_in_the_models_size(planner: Planner[Any]) -> None:
    result = MPC(planner, MPCConfig(num_steps=1)).run(Dot(size=(32, 32), pixels=False), generator(), seed=0)
    assert result.frames[0].shape == (2, *SIZE, 3)


def test_actions_are_held_as_in_the_recordings(planner: Planner[Any]) -> None:
    env = Dot(length=5)
    result = MPC(planner, MPCConfig(num_steps=2, frame_skip=3)).run(env, generator(), seed=0)
    assert len(env.taken) == 5, "the second action was cut short by the end of the episode"
    assert result.rewards.tolist() == [[3.0, 2.0]]
    assert np.array_equal(np.stack(env.taken)[[0, 3]], result.actions[0])


def test_each_action_of_a_block_is_held_as_in_the_recordings() -> None:
    env = Dot(length=7)
    envs = open_envs(env, ACTION_SPECS["box"].block(2), SIZE, frame_skip=2, action_block=2)
    envs.reset(0, None)
    first, second = block = np.array([[0, 10], [500, 300]], np.float32)
    step = envs.step(block[None], [0])
    assert np.array_equal(np.stack(env.taken), [first, first, second, second])
    assert step.rewards.tolist() == [4.0] and not step.terminated.any()
    step = envs.step(block[None], [0])
    assert step.rewards.tolist() == [3.0] and step.terminated.all() and len(env.taken) == 7


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_environments(planner: Planner[Any], mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([lambda: Dot(length=2), lambda: Dot(length=50)], autoreset_mode=mode)
    result = MPC(planner, MPCConfig(num_steps=4)).run(envs, generator(), seed=0)
    assert [len(frames) for frames in result.frames] == [3, 5]
    last = Dot()
    last.place = result.actions[0][-1]
    assert np.array_equal(result.frames[0][-1], last.render()), "the last frame is the old episode's"
    one = MPC(planner, MPCConfig(num_steps=4)).run([Dot(length=2), Dot()], generator(), seed=0)
    np.testing.assert_allclose(result.actions[1], one.actions[1], atol=1.0)


def test_infos_of_vector_environments_reach_the_caller(planner: Planner[Any]) -> None:
    def arrived(step: MPCStep) -> np.ndarray:
        places = np.stack([info["place"] for info in step.real.infos])
        assert np.array_equal(places, step.actions)
        return np.ones(len(step.rows), np.bool_)

    envs = SyncVectorEnv([Dot, Dot])
    result = MPC(planner, MPCConfig(num_steps=4)).run(envs, generator(), seed=0, until=arrived)
    assert result.arrived.all() and [len(actions) for actions in result.actions] == [1, 1]


def test_imagined_environments_can_be_controlled_too(planner: Planner[Any]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8)
    config = EnvConfig(planner.model, reset_source=ImageSource(images, planner.model.config.actions))
    mpc = MPC(planner, MPCConfig(num_steps=2))
    single = mpc.run(Vid2WorldEnv(config), generator(), seed=0)
    many = mpc.run(Vid2WorldVectorEnv(config, 3), generator(), seed=0)
    assert single.frames[0].shape == (3, *SIZE, 3) and len(many.frames) == 3
    latent = EnvConfig(planner.model, reset_source=config.reset_source, observation="latent", render_mode="rgb_array")
    assert mpc.run(Vid2WorldVectorEnv(latent, 2), generator(), seed=0).frames[1].shape == (3, *SIZE, 3)


def test_options_reach_every_environment(planner: Planner[Any]) -> None:
    mpc = MPC(planner, MPCConfig(num_steps=1))
    places = [{"place": (0, 0)}, {"place": (511, 511)}]
    first = mpc.run([Dot(), Dot()], generator(), options=places)
    assert first.frames[0][0, 0, 0].tolist() == [0, 0, 0] and first.frames[1][0, -1, -1].tolist() == [0, 0, 0]
    both = mpc.run([Dot(), Dot()], generator(), options=places[1])
    assert np.array_equal(both.frames[0][0], both.frames[1][0])
    with pytest.raises(ValueError, match="options: expected one dictionary per environment .2., got 1"):
        mpc.run([Dot(), Dot()], generator(), options=places[:1])
    with pytest.raises(ValueError, match="options: a vector environment takes one dictionary for all"):
        mpc.run(SyncVectorEnv([Dot]), generator(), options=places)


def test_mistakes_are_named(planner: Planner[Any]) -> None:
    with pytest.raises(ValueError, match="replan_every: expected at most the planner's horizon 3, got 4"):
        MPC(planner, MPCConfig(replan_every=4))
    for name in ("num_steps", "replan_every", "context_frames", "frame_skip"):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
            MPCConfig(**{name: 0})
    mpc = MPC(planner, MPCConfig(num_steps=1))
    for envs in ([], [3], "CartPole-v1"):
        with pytest.raises(ValueError, match="envs: expected an environment, some in a list, or a vector environment"):
            mpc.run(envs, generator())  # type: ignore[arg-type]
    for other in (gym.make("CartPole-v1", render_mode="rgb_array"), SyncVectorEnv([lambda: gym.make("CartPole-v1")])):
        with pytest.raises(ValueError, match="the action space that the world model learned, Box.*got Discrete"):
            mpc.run(other, generator())
    blind = Dot(pixels=False)
    blind.render_mode = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="gives no image"):
        mpc.run(blind, generator())
    with pytest.raises(ValueError, match="frame_skip: a vector environment cannot hold actions"):
        MPC(planner, MPCConfig(frame_skip=2)).run(SyncVectorEnv([Dot]), generator())
    with pytest.raises(ValueError, match="generator: expected a torch.Generator, or one per environment .1., got 2"):
        mpc.run(Dot(), generators([0, 1]))
    with pytest.raises(ValueError, match="until: expected 1 bools, got bool of shape .2,."):
        mpc.run(Dot(), generator(), until=lambda step: [True, False])
    with pytest.raises(ValueError, match="context_frames: expected 1 or more, got 0"):
        History(np.zeros((1, *SIZE, 3), np.uint8), 0)


def test_an_objective_that_raises_leaves_environments_and_planner_usable(planner: Planner[Any]) -> None:
    def fails(outcome: Outcome) -> torch.Tensor:
        raise RuntimeError("no")

    env = Dot()
    with pytest.raises(RuntimeError, match="no"):
        MPC(planner.with_objective(Reward(fails)), MPCConfig(num_steps=1)).run(env, generator(), seed=0)
    assert MPC(planner, MPCConfig(num_steps=1)).run(env, generator(), seed=0).actions[0].shape == (1, 2)


def test_discrete_actions(goal: np.ndarray) -> None:
    from planners import RandomShooting, ShootingConfig

    class Buttons(Dot):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Discrete(5)

        def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            assert self.action_space.contains(action)
            return self._observe(), 0.0, False, False, {}

    model = small_model(ACTION_SPECS["discrete"])
    planner = RandomShooting(model, GoalImage(model, goal), ShootingConfig(horizon=2, num_candidates=4))
    result = MPC(planner, MPCConfig(num_steps=3)).run([Buttons(), Buttons()], generator(), seed=0)
    assert result.actions[0].shape == (3,) and result.actions[0].dtype == np.int64
