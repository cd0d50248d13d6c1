"""Whatever acts, acts through one interface, and an SB3 agent sees there what it saw in training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import ALGORITHMS, AgentConfig, make_agent
from agents.checkpoint import save_agent
from agents.loading import load_agent
from agents.policies import FunctionPolicy, Policy, RandomPolicy, RecordedActions, load_policy
from agents.real import encoder
from agents.sb3_policy import SB3Policy
from agents.sb3_vec_env import WorldModelVecEnv
from agents.wrappers import stacked
from tests.agents.worlds import SPECS, make_model, make_source
from world_model.model import WorldModel

Make = Callable[..., WorldModelVecEnv]
TINY = {
    "ppo": {"n_steps": 4, "batch_size": 8},
    "a2c": {},
    "dqn": {"buffer_size": 8},
    "sac": {"buffer_size": 8},
}
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16, 3), np.uint8)


def agent_in(
    env: WorldModelVecEnv, name: str = "ppo", features: Any = "small", frame_stack: int = 2, seed: int = 0
) -> BaseAlgorithm:
    settings = ALGORITHMS[name](**TINY[name])
    config = AgentConfig(settings, env.num_envs, frame_stack, features, features_dim=8, net_arch=(8,))
    return make_agent(config, stacked(env, frame_stack), seed)


def test_an_agent_sees_what_it_saw_in_training(dream: Make, models: dict[str, WorldModel]) -> None:
    env = dream("box", 4, horizon=3)
    agent = agent_in(env, frame_stack=3)
    policy = SB3Policy(agent, models["box"].config)
    seen = agent.env.reset()
    rows = [4, 0, 2, 7]

    def begin(places: list[int]) -> None:
        """What the agent saw in training began with the recorded frames before; a policy has to be shown them."""
        policy.reset([rows[place] for place in places])
        for before in np.stack([env.context(place) for place in places], axis=1):
            policy.act(before, [rows[place] for place in places])

    begin([0, 1, 2, 3])
    for _ in range(5):
        frames = np.stack([np.moveaxis(one[-3:], 0, -1) for one in seen])
        expected, _ = agent.predict(seen, deterministic=True)
        assert np.allclose(policy.act(frames, rows), (expected + 1) * 256, atol=1e-2)
        seen, _, dones, _ = agent.env.step(expected)
        if dones.any():
            begin(np.flatnonzero(dones).tolist())


def test_rows_do_not_depend_on_each_other(dream: Make, models: dict[str, WorldModel]) -> None:
    agent = agent_in(dream("box", 2))
    together, alone = SB3Policy(agent, models["box"].config), SB3Policy(agent, models["box"].config)
    together.reset([0, 1, 2])
    alone.reset([1])
    for frames in FRAMES:
        every = together.act(frames[[2, 1, 0]], [2, 1, 0])
        assert np.allclose(alone.act(frames[[1]], [1])[0], every[1], atol=1e-3)


def test_an_agent_of_latents_gets_them_encoded(dream: Make, models: dict[str, WorldModel]) -> None:
    agent = agent_in(dream("box", 2, observation="latent"), features="flat")
    with pytest.raises(ValueError, match="encode: this agent sees latents"):
        SB3Policy(agent, models["box"].config)
    encode = encoder(models["box"])
    policy = SB3Policy(agent, models["box"].config, encode)
    policy.reset([0, 1, 2])
    policy.act(FRAMES[0], [0, 1, 2])
    seen = np.concatenate([encode(FRAMES[0]), encode(FRAMES[1])], axis=1)
    expected = agent.predict(seen, deterministic=True)[0]
    assert np.allclose(policy.act(FRAMES[1], [0, 1, 2]), (expected + 1) * 256, atol=1e-2)


@pytest.mark.parametrize(("kind", "lowest"), [("from_two", 2), ("discrete", 0)])
def test_actions_are_the_simulators(dream: Make, models: dict[str, WorldModel], kind: str, lowest: int) -> None:
    env = dream(kind, 2)
    agent = agent_in(env, frame_stack=1)
    policy = SB3Policy(agent, models[kind].config)
    policy.reset([0, 1, 2])
    seen = FRAMES[0].transpose(0, 3, 1, 2)
    assert np.array_equal(policy.act(FRAMES[0], [0, 1, 2]), agent.predict(seen, deterministic=True)[0] + lowest)


def test_agents_of_other_worlds_are_refused(dream: Make, models: dict[str, WorldModel]) -> None:
    agent = agent_in(dream("discrete", 2))
    with pytest.raises(ValueError, match=r"agent: expected one that acts in Box\(0.0, 512.0.*got Discrete\(5\)"):
        SB3Policy(agent, models["box"].config)
    cart = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=4, batch_size=4, device="cpu")
    cart.action_space = gym.spaces.Discrete(5)
    with pytest.raises(ValueError, match=r"stacked frames of \(3, 16, 16\) or latents of \(4, 4, 4\)"):
        SB3Policy(cart, models["discrete"].config)


@pytest.mark.parametrize(("name", "kind"), [("ppo", "box"), ("a2c", "box"), ("dqn", "discrete"), ("sac", "box")])
def test_a_saved_agent_is_recognised(
    dream: Make, models: dict[str, WorldModel], name: str, kind: str, tmp_path: Path
) -> None:
    agent = agent_in(dream(kind, 2), name)
    path = save_agent(agent, tmp_path / "agents" / "agent.zip")
    assert [file.name for file in path.parent.iterdir()] == ["agent.zip"]
    loaded = load_agent(path)
    assert type(loaded) is type(agent)
    policies = [load_policy(source, models[kind].config) for source in (agent, str(path), path)]
    for policy in policies:
        policy.reset([0, 1, 2])
    first, *others = [policy.act(FRAMES[0], [0, 1, 2]) for policy in policies]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(("features", "portable"), [("small", False), ("flat", True)])
def test_code_of_another_python_is_refused(
    dream: Make, features: str, portable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_agent(agent_in(dream("discrete", 2), features=features), tmp_path / "agent.zip")
    monkeypatch.setattr("agents.loading.sys.version_info", SimpleNamespace(major=3, minor=99))
    if portable:  # all it holds are names
        load_agent(path)
    else:
        with pytest.raises(ValueError, match=r"saved under Python 3\.\d+, whose code Python 3\.99 cannot run"):
            load_agent(path)


PLAIN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("agents", "v2w_env", "world_model", "v2w", "configs"):
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Blocked())
import numpy as np, stable_baselines3
for path in sys.argv[1:]:
    agent = getattr(stable_baselines3, path.split("_")[-1].split(".")[0]).load(path, device="cpu")
    seen = np.zeros((2, *agent.observation_space.shape), agent.observation_space.dtype)
    print(agent.predict(seen, deterministic=True)[0].tolist())
"""


@pytest.mark.slow
def test_saved_agents_load_in_plain_sb3(dream: Make, tmp_path: Path) -> None:
    large = {"checkpoint": make_model("box", (40, 40)), "device": None, "reset_source": make_source("box", (40, 40))}
    agents = {
        "nature_PPO": agent_in(dream("box", 2, **large), "ppo", "nature"),
        "small_DQN": agent_in(dream("discrete", 2), "dqn", "small"),
        "flat_SAC": agent_in(dream("box", 2, observation="latent"), "sac", "flat"),
    }
    paths = [str(save_agent(agent, tmp_path / f"{name}.zip")) for name, agent in agents.items()]
    command = [sys.executable, "-W", "error", "-c", PLAIN, *paths]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for agent, line in zip(agents.values(), result.stdout.splitlines(), strict=True):
        seen = np.zeros((2, *agent.observation_space.shape), agent.observation_space.dtype)
        assert np.allclose(json.loads(line), agent.predict(seen, deterministic=True)[0], atol=1e-4)


def test_random_actions_follow_from_the_seed_and_the_row() -> None:
    policies = [RandomPolicy(SPECS["box"], seed) for seed in (0, 0, 1)]
    for policy in policies:
        policy.reset([0, 1])
    one, same, other = [np.stack([policy.act(FRAMES[0, :2], [0, 1]) for _ in range(3)]) for policy in policies]
    assert one.shape == (3, 2, 2) and np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.min() >= 0 and one.max() <= 512 and not np.array_equal(one[:, 0], one[:, 1])


def test_recorded_actions_start_over_with_every_episode() -> None:
    sequences = [np.array([0, 1, 2]), np.array([4, 3])]
    policy = RecordedActions(sequences, SPECS["discrete"])
    policy.reset([0, 1, 2])
    assert policy.act(FRAMES[0], [0, 1, 2]).tolist() == [0, 4, 0]
    policy.reset([1])
    assert policy.act(FRAMES[0], [0, 1, 2]).tolist() == [1, 4, 1]
    assert policy.act(FRAMES[0, :1], [1]).tolist() == [3]
    with pytest.raises(ValueError, match="row 1 has played all 2"):
        policy.act(FRAMES[0, :1], [1])


def double(frames: np.ndarray) -> np.ndarray:
    return np.full((len(frames), 2), 100.0)


def test_whatever_names_a_policy(models: dict[str, WorldModel], tmp_path: Path) -> None:
    world = models["box"].config
    np.save(tmp_path / "one.npy", np.full((4, 2), 7.0))
    np.save(tmp_path / "two.npy", np.stack([np.full((4, 2), 7.0), np.full((4, 2), 9.0)]))
    for source, kind, expected in [
        (double, FunctionPolicy, [100, 100, 100]),
        (f"{__name__}:double", FunctionPolicy, [100, 100, 100]),
        (tmp_path / "one.npy", RecordedActions, [7, 7, 7]),
        (str(tmp_path / "two.npy"), RecordedActions, [7, 9, 7]),
        ([np.full((2, 2), 1.0), np.full((1, 2), 2.0)], RecordedActions, [1, 2, 1]),
    ]:
        policy = load_policy(source, world)
        assert isinstance(policy, kind) and isinstance(policy, Policy)
        assert load_policy(policy, world) is policy
        policy.reset([0, 1, 2])
        assert policy.act(FRAMES[0], [0, 1, 2])[:, 0].tolist() == expected
    assert isinstance(load_policy("random", world), RandomPolicy)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.zip", "agent: no file 'nowhere.zip'"),
        ("walker", r"agent: expected FILE.zip, random, ACTIONS.npy or module:name, got 'walker'"),
        ("numpy:walk", "agent: cannot import 'numpy:walk'"),
        (3, "agent: expected a policy, an SB3 model, a callable or recorded actions, got 3"),
        ([np.full((2, 2), 999.0)], r"recorded actions 0.*999"),
        ([], "at least one sequence"),
    ],
)
def test_what_is_no_policy_is_named(models: dict[str, WorldModel], source: Any, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError, gym.error.InvalidAction), match=message):
        load_policy(source, models["box"].config)


def test_a_file_that_is_no_agent(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected a .zip saved by Stable-Baselines3"):
        load_agent(path)
