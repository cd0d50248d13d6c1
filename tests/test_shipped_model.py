"""The models that ship with the package: they are small enough, load, step and follow their actions."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import v2w_env  # noqa: F401  (registers the ids)
from benchmarks.pusht_tracking import track
from planners import CEM, CEMConfig, GoalState
from v2w_env.collect.simulator import image_settings, make_simulator
from v2w_env.frames import to_model
from v2w_env.registration import BUNDLES
from world_model import bundle
from world_model.model import WorldModel

PUSHT = "gym_pusht/PushT-v0"
FOLDER = BUNDLES / "pusht"
SHIPPED = sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return WorldModel.from_pretrained(FOLDER)


@pytest.mark.parametrize("name", SHIPPED)
def test_files_are_whole_and_small(name: str) -> None:
    sizes = {path.name: path.stat().st_size for path in (BUNDLES / name).iterdir()}
    prior = {"action_prior.safetensors"} if name == "pusht_blocks" else set()
    assert sizes.keys() == {"config.yaml", "model.safetensors", "episodes.npz", "card.md"} | prior
    assert max(sizes.values()) <= 10e6


def test_spaces_are_those_of_the_simulator() -> None:
    import gym_pusht  # noqa: F401  (registers its id)

    real = gym.make("gym_pusht/PushT-v0", obs_type="pixels", observation_width=64, observation_height=64)
    imagined = gym.make("Vid2World-PushT-v0")
    assert imagined.observation_space == real.observation_space
    assert imagined.action_space == real.action_space
    assert imagined.spec is not None and real.spec is not None
    assert imagined.spec.max_episode_steps == real.spec.max_episode_steps


@pytest.mark.parametrize("num_envs", [1, 4, 16])
def test_trajectories_do_not_depend_on_the_batch(num_envs: int) -> None:
    """At most 1e-4 in pixels of [0, 1], before rounding to grey levels, after 50 steps in float32."""
    envs = gym.make_vec("Vid2World-PushT-v0", num_envs=num_envs, dtype="float32", observation="latent")
    alone = gym.make("Vid2World-PushT-v0", dtype="float32", observation="latent")
    index = num_envs - 1
    envs.reset(seed=5)
    alone.reset(seed=5 + index)
    rng = np.random.default_rng(0)
    model = WorldModel.from_pretrained(FOLDER)
    for _ in range(50):
        actions = rng.uniform(0, 512, (num_envs, 2)).astype(np.float32)
        batch = envs.step(actions)[0]
        one = alone.step(actions[index])[0]
    pair = torch.from_numpy(np.stack([batch[index], one]))[:, None]
    with torch.no_grad():
        frames = model.decode(pair)
    assert float((frames[0] - frames[1]).abs().max()) / 2 <= 1e-4


def test_the_agent_goes_where_the_action_says(model: WorldModel) -> None:
    clips = bundle.load_episodes(FOLDER, model.config.actions)
    assert clips is not None
    env = gym.make("Vid2World-PushT-v0")
    ends = []
    for target in ([128.0, 128.0], [384.0, 128.0]):
        env.reset(seed=0, options={"frames": clips["frames"][0], "actions": clips["actions"][0]})
        for _ in range(12):
            frame = env.step(np.array(target, np.float32))[0]
        ends.append(track(frame[None]).agent[0])
    assert np.linalg.norm(ends[0] - [16, 16]) < 4 and np.linalg.norm(ends[1] - [48, 16]) < 4


def test_the_probe_reads_what_the_simulator_knows() -> None:
    """Of PushT in blocks, in ten scenes: positions within the planning benchmark's tolerance, angles within half."""
    model = WorldModel.from_pretrained(BUNDLES / "pusht_blocks")
    assert model.state_probe is not None and model.state_probe.config.names[:2] == ["pos_agent.0", "pos_agent.1"]
    real = make_simulator(PUSHT, image_settings(PUSHT, model.config.frame_size))
    frames, states = [], []
    for seed in range(10):
        frame, info = real.reset(seed=seed)
        frames.append(frame)
        states.append(np.concatenate([info["pos_agent"], info["block_pose"]]))
    with torch.no_grad():
        read, doubt = model.state_probe(model.encode(to_model(np.stack(frames)[:, None], model.device))[:, 0])
    apart = model.state_probe.difference(read, torch.tensor(np.stack(states), dtype=torch.float32)).abs()
    assert float(apart[:, :4].max()) < 20 and float(apart[:, 4].max()) < np.deg2rad(10)
    assert float((apart / doubt).square().mean()) < 9


def test_a_plan_in_blocks_comes_near_its_goal() -> None:
    """What 5 actions of a pushing hand lead to, planned for from the same frames, in the dream."""
    env = gym.make("Vid2World-PushTBlocks-v0")
    env.reset(seed=0)
    world = env.unwrapped
    model, state = world.world_model, world.get_state()  # type: ignore[attr-defined]
    assert model.state_probe is not None
    now, _ = model.state_probe(state.world.latent)
    goal = now[0].numpy() + np.array([60.0, 0, 0, 0, 0], np.float32) * (1 if now[0, 0] < 256 else -1)
    objective = GoalState(model, goal, (20, 20, 20, 20, 0.35), over="best")
    planner = CEM(model, objective, CEMConfig(horizon=1, num_candidates=32, num_iterations=4, start="hold"))
    plan = planner.plan(state, torch.Generator().manual_seed(0))
    assert float(plan.cost[0]) < 0.5 < 60**2 / 20**2 / 5


def test_a_dream_of_take_cover_pays_for_staying_alive() -> None:
    envs = gym.make_vec("Vid2World-DoomTakeCover-v0", num_envs=8)
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (8, 64, 64, 3) and observations.dtype == np.uint8
    rewards = []
    for _ in range(12):
        observations, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        rewards.append(reward[~terminated])
        assert not truncated.any()
    assert 3 < np.concatenate(rewards).mean() < 5  # four tics a step
    assert observations.std() > 10
