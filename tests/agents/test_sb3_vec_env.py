"""The imagined environment keeps what Stable-Baselines3 promises of its environments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecVideoRecorder

from agents.errors import DreamError
from agents.features import SmallCNN
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import FrameStack, stacked
from tests.agents.worlds import HORIZON, brightness, dark_ends, make_model, make_source
from v2w_env import Vid2WorldVectorEnv

Make = Callable[..., WorldModelVecEnv]


def actions_of(env: WorldModelVecEnv) -> np.ndarray:
    return np.array([env.action_space.sample() for _ in range(env.num_envs)])


def test_steps_are_those_of_the_gymnasium_environment(dream: Make, ids: dict[str, str]) -> None:
    env = dream("discrete", 3, reward=dark_ends)
    plain = gym.make_vec(ids["discrete"], num_envs=3, autoreset_mode="SameStep", reward=dark_ends)
    env.seed(7)
    observations = env.reset()
    expected, infos = plain.reset(seed=7)
    assert observations.dtype == np.uint8 and np.array_equal(observations, expected)
    assert [info["reset_clip"] for info in env.reset_infos] == infos["reset_clip"].tolist()
    ended = 0
    for _ in range(3 * HORIZON):
        actions = actions_of(env)
        observations, rewards, dones, infos = env.step(actions)
        expected, r, terminated, truncated, plain_infos = plain.step(actions)
        assert np.array_equal(observations, expected)
        assert rewards.dtype == np.float32 and np.allclose(rewards, r)
        assert dones.dtype == np.bool_ and np.array_equal(dones, terminated | truncated)
        for row, info in enumerate(infos):
            assert ("terminal_observation" in info) == dones[row]
            assert info["TimeLimit.truncated"] is bool(truncated[row] and not terminated[row])
            if dones[row]:
                ended += 1
                assert np.array_equal(info["terminal_observation"], plain_infos["final_obs"][row])
                assert "reset_clip" not in info
                assert env.reset_infos[row]["reset_clip"] == plain_infos["reset_clip"][row]
    assert ended >= 6
    plain.close()


def test_infos_of_the_reward_reach_their_sub_environment(dream: Make) -> None:
    goal = np.zeros((16, 16, 3), np.uint8)
    env = dream("box", 2, reward="goal_image", goal=goal, horizon=3)
    env.reset()
    for step in range(1, 5):
        _, rewards, dones, infos = env.step(actions_of(env))
        assert dones.all() == (step == 3)
        for reward, info in zip(rewards, infos, strict=True):
            assert info["goal_distance"] == pytest.approx(-reward) and info["is_success"] is False


def test_seeds_and_options_wait_for_the_next_reset(dream: Make) -> None:
    env = dream("box", 2)
    assert env.seed(3) == [3, 4]
    first = env.reset()
    second = env.reset()
    env.seed(3)
    assert np.array_equal(env.reset(), first) and not np.array_equal(second, first)
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16, 3), np.uint8)
    env.set_options([{"frames": one} for one in frames])
    assert np.array_equal(env.reset(), frames[:, 0])
    env.set_options({"frames": frames[0]})
    assert np.array_equal(env.reset(), frames[[0, 0], 0])
    assert env.reset_infos[0]["reset_source"] == "options"
    env.reset()
    assert env.reset_infos[0]["reset_source"] == "episodes"
    env.set_options([{"frames": frames[0]}, {}])
    with pytest.raises(ValueError, match="options: expected the same keys for every sub-env"):
        env.reset()
    env.set_options([{"frames": frames[0]}, {"frames": np.zeros((16, 16, 3), np.uint8)}])
    with pytest.raises(ValueError, match="expected the same shape for every sub-env"):
        env.reset()


def test_attributes_and_methods_of_sub_environments(dream: Make) -> None:
    env = dream("from_two", 3)
    env.seed(5)
    env.reset()
    assert env.get_attr("render_mode") == [None] * 3
    assert env.get_attr("action_space", indices=[0, 2]) == [gym.spaces.Discrete(3)] * 2
    assert env.get_attr("np_random_seed") == [5, 6, 7]
    assert env.get_attr("world_model", indices=1)[0] is env.env.world_model
    env.set_attr("level", 2, indices=[1])
    assert env.get_attr("level", indices=1) == [2] and not env.has_attr("level")
    env.set_attr("max_episode_steps", 2)
    assert env.env.max_episode_steps == 2
    with pytest.raises(ValueError, match="all sub-envs share 'max_episode_steps'"):
        env.set_attr("max_episode_steps", 2, indices=0)
    with pytest.raises(AttributeError, match="no_such"):
        env.get_attr("no_such")
    with pytest.raises(AttributeError, match="'step'"):
        env.env_method("step", 0)
    (fork,) = env.env_method("fork", 4, seed=1, indices=2)
    assert fork.num_envs == 4
    assert env.env_method("get_state")[1].rngs[0].seed == 6
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3


def test_discrete_actions_count_from_zero(dream: Make) -> None:
    env = dream("from_two", 3, horizon=2)
    assert env.action_space == gym.spaces.Discrete(3)
    env.reset()
    assert env.step(np.array([0, 1, 2]))[0].shape == (3, 16, 16, 3)
    with pytest.raises(gym.error.InvalidAction):
        env.step(np.array([0, 1, 3]))
    several = dream("multi_discrete", 1)
    assert several.action_space == gym.spaces.MultiDiscrete([2, 3])
    several.reset()
    several.step(np.array([[0, 0]]))


def test_actions_past_their_bounds_by_rounding_are_taken_but_not_nan(dream: Make) -> None:
    env = dream("box", 1)
    assert env.action_space == gym.spaces.Box(-1, 1, (2,), np.float32)
    env.reset()
    env.step(np.array([[1.0000001, -1.0000001]], np.float32))
    with pytest.raises(gym.error.InvalidAction, match="NaN"):
        env.step(np.array([[np.nan, 0]], np.float32))


def test_latent_observations(dream: Make) -> None:
    env = dream("box", 2, observation="latent")
    observations = env.reset()
    assert observations.shape == (2, 4, 4, 4) and observations.dtype == np.float32
    assert env.observation_space.contains(observations[0])
    double = VecFrameStack(env, 2, channels_order="first")
    assert double.reset().shape == (2, 8, 4, 4)


def test_pictures(dream: Make) -> None:
    env = dream("box", 4, render_mode="rgb_array")
    observations = env.reset()
    assert env.metadata["render_fps"] == 10
    assert np.array_equal(np.stack(env.get_images()), observations)
    assert env.render().shape == (32, 32, 3)
    assert np.array_equal(env.env_method("render", indices=[3])[0], observations[3])
    blind = dream("box", 2)
    blind.reset()
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert blind.get_images() == [None, None]


def test_sb3s_wrappers_around_it(dream: Make, tmp_path: Path) -> None:
    inner = dream("discrete", 2, render_mode="rgb_array", reward=dark_ends)
    env = VecMonitor(inner)
    film = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=3)
    normal = VecNormalize(stacked(film, 3), norm_obs=False)
    assert normal.reset().shape == (2, 9, 16, 16)
    episodes = 0
    for _ in range(2 * HORIZON):
        observations, _, dones, infos = normal.step(np.zeros(2, np.int64))
        for row in np.flatnonzero(dones):
            episodes += 1
            assert infos[row]["terminal_observation"].shape == (9, 16, 16)
            assert 1 <= infos[row]["episode"]["l"] <= HORIZON
            before = inner.context(row)[1:].transpose(0, 3, 1, 2).reshape(6, 16, 16)
            assert np.array_equal(observations[row, :6], before) and before.any() and observations[row, 6:].any()
    assert episodes >= 2
    assert len(list(tmp_path.glob("*.mp4"))) == 1
    normal.close()


@pytest.mark.parametrize("observation", ["pixels", "latent"])
def test_stacks_begin_with_what_went_before(dream: Make, observation: str) -> None:
    """Those of the first step of an episode hold the recorded frames before it, as far as there are any."""
    env = dream("box", 2, observation=observation)
    axis = -1 if observation == "pixels" else 0
    stack = FrameStack(env, 3, channels_order="last" if axis else "first")
    first = stack.reset()
    newest = env.env._observe()
    for row in range(2):
        parts = np.split(first[row], 3, axis)
        assert np.array_equal(parts[2], newest[row])
        assert env.context(row).shape == (3, *newest.shape[1:])
        assert np.array_equal(np.stack(parts[:2]), env.context(row)[1:])
    for _ in range(HORIZON):
        observations, _, dones, infos = stack.step(np.zeros((2, 2), np.float32))
    assert dones.all() and infos[0]["terminal_observation"].shape == first[0].shape
    assert np.array_equal(np.split(observations[0], 3, axis)[1], env.context(0)[2])
    alone = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)  # a start without a past
    env.set_options({"frames": alone, "actions": np.zeros((0, 2), np.float32)})
    parts = np.split(stack.reset()[0], 3, axis)
    assert len(env.context(0)) == 0 and not parts[0].any() and not parts[1].any() and parts[2].any()


@pytest.mark.parametrize(
    ("algorithm", "kind", "arguments"),
    [
        (PPO, "box", {"n_steps": 4, "batch_size": 8, "n_epochs": 1}),
        (PPO, "discrete", {"n_steps": 4, "batch_size": 8, "n_epochs": 1}),
        (PPO, "multi_discrete", {"n_steps": 4, "batch_size": 8, "n_epochs": 1}),
        (A2C, "box", {"n_steps": 4}),
        (A2C, "discrete", {"n_steps": 4}),
        (DQN, "discrete", {"buffer_size": 20, "learning_starts": 4, "batch_size": 4}),
        (SAC, "box", {"buffer_size": 20, "learning_starts": 4, "batch_size": 4}),
    ],
)
def test_algorithms_learn_without_a_warning(dream: Make, algorithm: type, kind: str, arguments: dict) -> None:
    kwargs = {"features_extractor_class": SmallCNN, "features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = algorithm("CnnPolicy", dream(kind, 2), policy_kwargs=kwargs, seed=0, device="cpu", **arguments)
        before = [p.clone() for p in agent.policy.parameters()]
        agent.learn(16)
    assert agent.num_timesteps == 16
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert agent.predict(agent.env.reset())[0].shape[0] == 2


def test_sb3_itself_says_which_actions_an_algorithm_takes(dream: Make) -> None:
    with pytest.raises(AssertionError, match=r"only supports .*Discrete.* as action spaces but Box"):
        DQN("CnnPolicy", dream("box", 1))
    with pytest.raises(AssertionError, match=r"only supports .*Box.* as action spaces but Discrete"):
        SAC("CnnPolicy", dream("discrete", 1))


def test_other_environments_are_refused(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="autoreset_mode='SameStep'.* got 'NextStep'"):
        WorldModelVecEnv(gym.make_vec(ids["box"], num_envs=1))
    with pytest.raises(ValueError, match="expected an imagined vector environment"):
        WorldModelVecEnv(gym.make_vec("CartPole-v1", num_envs=1))


def test_a_dream_that_is_not_finite_says_how_to_see_it_again(tmp_path: Path) -> None:
    model, broken = make_model("box"), make_model("box")
    with torch.no_grad():
        next(broken.network.parameters()).fill_(float("nan"))
    settings = {"reset_source": make_source("box"), "reward": brightness}
    env = WorldModelVecEnv(gym.make_vec("Vid2World-v0", 2, autoreset_mode="SameStep", checkpoint=model, **settings))
    env.seed(11)
    env.reset()
    actions = np.full((2, 2), 100, np.float32)
    env.step(actions)
    model.load_state_dict(broken.state_dict())
    with pytest.raises(
        DreamError, match=r"imagined frames of sub-envs \[0, 1\] are not finite at step 1 .*\[11, 12\]"
    ) as e:
        env.step(actions)
    assert e.value.rows == [0, 1] and e.value.elapsed_steps == [1, 1]
    saved = torch.load(e.value.save(tmp_path / "failure.pt"), weights_only=False)
    again: Vid2WorldVectorEnv = gym.make_vec("Vid2World-v0", 2, checkpoint=broken, **settings)
    again.set_state(saved["state"])
    again.step(saved["actions"])
    assert not torch.isfinite(again.get_state().world.latent).any()


def test_a_reward_that_is_not_finite_is_reported_with_step_and_seed(dream: Make) -> None:
    def reward(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple:
        return np.where(info["elapsed_steps"] == 2, np.nan, 0.0), False

    env = dream("box", 2, reward=reward)
    env.seed(4)
    env.reset()
    env.step(np.zeros((2, 2), np.float32))
    with pytest.raises(DreamError, match=r"reward is not finite.* at step 1 of the environment \(seeds 4\.\.\)"):
        env.step(np.zeros((2, 2), np.float32))


def test_state_is_restored_exactly(dream: Make) -> None:
    env = dream("box", 2)
    env.seed(0)
    env.reset()
    actions = [actions_of(env) for _ in range(2 * HORIZON)]
    for action in actions[:4]:
        env.step(action)
    state = env.get_state()
    expected = [env.step(action)[0] for action in actions[4:]]
    other = dream("box", 2)
    other.set_state(state)
    assert other.num_steps == 4
    assert all(np.array_equal(other.step(action)[0], one) for action, one in zip(actions[4:], expected, strict=True))
