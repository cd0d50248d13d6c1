"""The evaluation of policies: its measures, its starts, and both worlds end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.command_line import parse
from benchmarks.policy_evaluation import MakePolicy, PolicyEvaluationConfig, Protocol, evaluate_policies, main
from benchmarks.policy_log import PolicyAttempt, PolicyLog
from benchmarks.policy_measures import agreement, false_success, mmrv, pearson, ranks, spearman
from benchmarks.policy_scripted import PUSHT, TAKE_COVER, ScriptedPolicy, scripted
from benchmarks.policy_starts import RecordedStart, draw_starts, replay, replay_env
from benchmarks.policy_worlds import DreamWorld, play
from tests.conftest import PUSHT_ACTIONS, make_tiny_model
from v2w_env.collect import CollectConfig, collect
from world_model.data import open_dataset
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.types import ActionSpec

KEYS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")


# ---- measures


def test_correlations_of_known_lists() -> None:
    assert pearson([0, 1, 2], [1, 3, 5]) == pytest.approx(1)
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert spearman([0, 1, 2, 3], [0, 1, 10, 100]) == pytest.approx(1)
    assert spearman([1, 2, 3], [9, 5, 1]) == pytest.approx(-1)
    assert np.isnan(pearson([1, 1, 1], [1, 2, 3])) and np.isnan(spearman([1], [2]))


def test_ties_share_their_rank() -> None:
    assert ranks([5, 1, 5, 9]).tolist() == [2.5, 1, 2.5, 4]
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)


def test_mmrv_of_known_lists() -> None:
    assert mmrv([0.1, 0.2, 0.9], [0.0, 0.5, 0.6]) == 0
    assert mmrv([0.1, 0.9, 0.2], [0.0, 0.5, 0.6]) == pytest.approx((0 + 0.1 + 0.1) / 3)
    assert mmrv([0, 1], [1, 0]) == 1
    # Tied in the dream: a violation for the really worse one alone. Tied in reality: nothing to lose.
    assert mmrv([0.5, 0.5], [0.2, 0.6]) == pytest.approx(0.2)
    assert mmrv([0.2, 0.6], [0.5, 0.5]) == 0


def test_nan_and_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite numbers, got NaN"):
        pearson([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="equal length"):
        mmrv([1, 2], [1, 2, 3])
    good = np.zeros((2, 3))
    with pytest.raises(ValueError, match="real scores: expected finite numbers, got NaN for policy 1, start 2"):
        agreement(good, np.where(np.arange(6).reshape(2, 3) == 5, np.nan, 0))
    with pytest.raises(ValueError, match=r"expected two arrays \[policies starts\]"):
        agreement(good, np.zeros((3, 2)))


def test_agreement_of_a_dream_that_is_too_kind() -> None:
    rng = np.random.default_rng(0)
    real = (rng.random((5, 60)) < np.linspace(0, 1, 5)[:, None]).astype(np.float64)
    kind = np.maximum(real, rng.random((5, 60)) < 0.2)
    measures = agreement(kind * 10, real * 10, full_score=10)
    assert measures["pearson"] > 0.98 and measures["spearman"] == pytest.approx(1) and measures["mmrv"] == 0
    assert 0 < measures["bias"] < 0.2 and measures["bias"] == pytest.approx(measures["calibration_error"])
    assert measures["pearson_ci"][0] < measures["pearson"] <= measures["pearson_ci"][1] + 1e-9
    line = measures["slope"] * kind.mean(1) + measures["intercept"]
    assert np.allclose(np.polyval(np.polyfit(kind.mean(1), real.mean(1), 1), kind.mean(1)), line)
    same = agreement(real, real)
    assert same["bias_ci"] == [0, 0] and same["mmrv_ci"] == [0, 0] and same["slope"] == pytest.approx(1)


def test_false_success_counts_only_what_really_fails() -> None:
    assert false_success(np.array([True, True, False]), np.array([True, False, False])) == 0.5
    assert np.isnan(false_success(np.array([True]), np.array([True])))


# ---- starts, worlds, log


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return make_tiny_model()


def test_starts_replay_exactly(pusht_dataset: Path, model: WorldModel) -> None:
    dataset = open_dataset(pusht_dataset)
    starts = draw_starts(dataset, ["train"], 2, 4, "middle")
    env = replay_env(model.config)
    for start in starts:
        assert start.frames.shape == (4, 16, 16, 3) and len(start.context_actions) == 3
        assert np.array_equal(replay(env, start), start.frames[-1])
    with pytest.raises(ValueError, match="the replay differs from the recording"):
        replay(env, replace(starts[0], seed=starts[0].seed + 1))
    first = draw_starts(dataset, ["train"], 1, 4, "first")[0]
    assert first.frames.shape[0] == 1 and len(first.actions) == 0 == len(first.context_actions)
    with pytest.raises(ValueError, match="num_starts: expected at most"):
        draw_starts(dataset, ["train"], 99, 4, "first")
    with pytest.raises(ValueError, match="num_starts: expected at most 0"):
        draw_starts(dataset, ["train"], 1, 4, "middle", suits=lambda frames: np.zeros(len(frames), np.bool_))
    env.close()


def test_starts_of_several_parts_come_part_by_part(pusht_dataset: Path) -> None:
    dataset = open_dataset(pusht_dataset)
    tests, trains = dataset.ids("test"), dataset.ids("train")
    starts = draw_starts(dataset, ["test", "train"], len(tests) + len(trains), 4, "first")
    episodes = [start.episode for start in starts]
    assert tests and sorted(episodes[: len(tests)]) == tests and sorted(episodes[len(tests) :]) == trains
    alone = draw_starts(dataset, ["test"], len(tests), 4, "first")
    assert [start.episode for start in alone] == episodes[: len(tests)]  # what was kept of one part serves for both


def test_worlds_of_blocks(pusht_dataset: Path, tmp_path: Path) -> None:
    """Starts lie whole blocks after the beginning, the simulator replays them, both worlds are stepped in blocks."""
    model = make_tiny_model(PUSHT_ACTIONS.block(2))
    model.config = replace(model.config, action_block=2, context_frames=3)
    dataset = open_dataset(pusht_dataset)
    starts = draw_starts(dataset, ["train"], 2, 3, "middle", action_block=2)
    env = replay_env(model.config)
    for start in starts:
        episode = dataset.read(start.episode)
        steps = 2 * len(start.actions)
        assert start.frames.shape == (3, 16, 16, 3) and start.context_actions.shape == (2, 2, 2)
        assert np.array_equal(start.frames, episode.frames[steps - 4 : steps + 1 : 2])
        assert np.array_equal(start.actions.reshape(-1, 2), episode.actions[:steps])
        assert np.array_equal(replay(env, start), start.frames[-1])
    env.close()
    config = PolicyEvaluationConfig(
        checkpoint=str(model.save_pretrained(tmp_path / "model")),
        dataset=str(pusht_dataset),
        split="train",
        policies=("pusher", "hold"),
        num_starts=2,
        horizon=5,
        threshold=0.2,
        work=str(tmp_path / "work"),
        results=str(tmp_path / "results"),
    )
    assert main(config)["policies"] == 3
    lines = [line for path in (tmp_path / "work").glob("*.jsonl") for line in path.read_text().splitlines()]
    attempts = [json.loads(line) for line in lines if "steps" in json.loads(line)]
    assert len(attempts) == 12 and {attempt["steps"] for attempt in attempts} == {3}  # five actions, two at a time


class FakeDoom:
    """A world of 3 keys: 4 points a step, the end when `deadly` is pressed, or after `life` steps."""

    def __init__(self, life: int = 5, reward: float = 4.0) -> None:
        self.life, self.reward, self.lived = life, reward, np.zeros(0)
        self.stepped: list[list[int]] = []

    def begin(self, starts: Any, seeds: Any) -> np.ndarray:
        self.lived = np.zeros(len(starts))
        return np.zeros((len(starts), 64, 64, 3), np.uint8)

    def step(self, actions: Any) -> Any:
        self.stepped.append(sorted(actions))
        ended = np.zeros(len(self.lived), np.bool_)
        for row, action in actions.items():
            self.lived[row] += 1
            ended[row] = action == 1 or self.lived[row] >= self.life
        return np.zeros((len(ended), 64, 64, 3), np.uint8), np.full(len(ended), self.reward), ended

    def close(self) -> None:
        pass


def _doom_start() -> RecordedStart:
    return RecordedStart(0, 7, np.zeros(0, np.int64), np.zeros((1, 64, 64, 3), np.uint8))


def test_returns_stop_at_the_end_of_an_episode() -> None:
    policies = {name: scripted(name, TAKE_COVER[name], KEYS, 0) for name in ("stand", "one_side")}
    world, pairs = FakeDoom(), [("stand", 0), ("one_side", 0)]
    attempts = play(world, policies, pairs, [_doom_start()], 20, "return")
    assert [(one.value, one.steps) for one in attempts] == [(20.0, 5), (4.0, 1)]
    assert world.stepped == [[0, 1], [0], [0], [0], [0]]
    with pytest.raises(ValueError, match="policy 'stand', start 0, step 0: expected a finite reward"):
        play(FakeDoom(reward=np.nan), policies, pairs, [_doom_start()], 20, "return")


def test_a_torn_log_goes_on(tmp_path: Path) -> None:
    log = PolicyLog(tmp_path, {"world": "dream", "horizon": 3})
    log.add([PolicyAttempt("a", "x", 0.5, 3), PolicyAttempt("b", "x", 0.25, 3)])
    with log.path.open("a") as file:
        file.write('{"policy": "a", "sta')  # killed here
    again = PolicyLog(tmp_path, {"world": "dream", "horizon": 3})
    assert again.values(["b", "a"], ["x"]).tolist() == [[0.25], [0.5]] and ("a", "y") not in again
    again.add([PolicyAttempt("a", "y", 1.0, 3)])
    assert ("a", "y") in PolicyLog(tmp_path, {"world": "dream", "horizon": 3})
    assert ("a", "x") not in PolicyLog(tmp_path, {"world": "dream", "horizon": 4})


def test_any_policy_and_any_batch(
    pusht_dataset: Path, model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = draw_starts(open_dataset(pusht_dataset), ["train"], 2, 4, "middle")
    policies: dict[str, Any] = {
        "function": lambda frames: np.full((len(frames), 2), 200.0, np.float32),
        "recorded": np.full((4, 2), 100.0, np.float32),
        "made": MakePolicy(lambda: ScriptedPolicy(PUSHT["noise_40"], PUSHT_ACTIONS, 0)),
    }
    protocol = Protocol("coverage", horizon=3)
    imagined, real = evaluate_policies(model, policies, starts, protocol, tmp_path / "a")
    assert imagined.shape == real.shape == (3, 2) and np.isfinite(imagined).all() and np.isfinite(real).all()
    small = evaluate_policies(model, policies, starts, replace(protocol, batch=2), tmp_path / "b")
    assert np.allclose(small[0], imagined, atol=1e-3) and np.array_equal(small[1], real)
    refuse = _refuse("begin")
    monkeypatch.setattr("benchmarks.policy_worlds.DreamWorld.begin", refuse)
    monkeypatch.setattr("benchmarks.policy_worlds.RealWorld.begin", refuse)
    again = evaluate_policies(model, policies, starts, protocol, tmp_path / "a")  # all attempts are known
    assert np.array_equal(again[0], imagined) and np.array_equal(again[1], real)
    with pytest.raises(AssertionError):
        evaluate_policies(model, policies, starts, replace(protocol, horizon=2), tmp_path / "a")


def _refuse(what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise AssertionError(what)

    return refuse


class FakeCover(gym.Env[np.ndarray, Any]):
    """Three keys; 4 points a step until `right` has been pressed four times."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.hits, self.shade = 0, int(self.np_random.integers(255))
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.hits += int(action == 1)
        return self._frame(), 4.0, self.hits >= 4, False, {}

    def _frame(self) -> np.ndarray:
        return np.full((16, 16, 3), self.shade, np.uint8)


@pytest.fixture
def cover() -> Iterator[str]:
    gym.register("FakeCover-v0", FakeCover)
    yield "FakeCover-v0"
    del gym.registry["FakeCover-v0"]


def _judging(ending: float) -> WorldModel:
    """A tiny world of three keys whose head gives 4 points a step, and an end the logit `ending`."""
    few_layers = {"attention_downsampling": (), "init_attention": False, "temporal_conv_depth": 1}
    model = make_tiny_model(KEYS, (16, 16), model_channels=8, channel_mult=(1,), **few_layers)
    shape = RewardHeadConfig(channels=4, features=8, memory=8, action_features=4)
    head = RewardHead(shape, KEYS, model.config.latent_shape)
    head.set_statistics(torch.full((3,), 4.0), torch.zeros(3).bool())
    with torch.no_grad():
        head.judge.bias[1] = ending
    model.reward_head = head.eval().requires_grad_(False)
    model.config = replace(model.config, reward_head=shape)
    return model


def test_take_cover_in_a_learned_dream(cover: str, tmp_path: Path) -> None:
    """A tiny model whose head ends each episode with even odds, a fake in the part of the real game."""
    model = _judging(ending=0.0)
    model.config = replace(model.config, source_env=cover)
    folder = collect(CollectConfig(cover, str(tmp_path / "data"), num_episodes=10, max_steps=6, policy="random"))
    config = PolicyEvaluationConfig(
        "take_cover",
        str(model.save_pretrained(tmp_path / "model")),
        str(folder),
        split="validation",
        num_starts=1,
        horizon=8,
        threshold=30.0,
        work=str(tmp_path / "work"),
        results=str(tmp_path / "results"),
    )
    measures = main(config)
    assert measures["policies"] == 12 and measures["best_real"] == 32 and measures["worst_real"] == 16
    recorded = json.loads((tmp_path / "results/policy_evaluation_take_cover_validation.json").read_text())
    assert recorded["real"]["stand"] == [32] and recorded["real"]["one_side"] == [16]
    lives = np.array(list(recorded["imagined"].values()))
    assert (lives >= 4).all() and (lives <= 32).all() and (lives < 32).any()


def test_dreams_that_are_over_leave_the_batch() -> None:
    """Those that go on are what they would have been alone."""
    model = _judging(ending=-0.5)
    frames = np.random.default_rng(0).integers(0, 256, (6, 1, 16, 16, 3), np.uint8)
    starts = [RecordedStart(i, i, np.zeros(0, np.int64), frames[i]) for i in range(6)]

    def lives(rows: list[int]) -> dict[int, list[float]]:
        world = DreamWorld(model, "return")
        world.begin([starts[row] for row in rows], rows)
        seen: dict[int, list[float]] = {row: [] for row in rows}
        alive = np.ones(len(rows), np.bool_)
        sizes = []
        while alive.any():
            pictures, rewards, ended = world.step({int(place): np.int64(1) for place in np.flatnonzero(alive)})
            for place in np.flatnonzero(alive):
                seen[rows[place]] += [float(rewards[place]), float(pictures[place].astype(float).mean())]
            alive &= ~ended
            sizes.append(len(world._rows))
        assert len(rows) == 1 or min(sizes) < len(rows)
        world.close()
        return seen

    together = lives([0, 1, 2, 3, 4, 5])
    for row in range(6):
        assert lives([row])[row] == pytest.approx(together[row], abs=0.5)  # half a grey level, for rounding
    assert len({len(values) for values in together.values()}) > 2


def test_end_to_end(pusht_dataset: Path, model: WorldModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save_pretrained(tmp_path / "model")
    settings = {"checkpoint": tmp_path / "model", "dataset": pusht_dataset, "split": "train", "num_starts": 2}
    settings |= {"horizon": 3, "work": tmp_path / "work", "results": tmp_path / "results"}
    arguments = [f"{key}={value}" for key, value in settings.items()]
    config = parse("policy_evaluation", PolicyEvaluationConfig, arguments)
    measures = main(replace(config, policies=("pusher", "hold"), threshold=0.2))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["policies"] == measures["policies"] == 3
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == [f"policy_evaluation_pusht_train.{kind}" for kind in ("json", "md", "png")]
    recorded = json.loads((tmp_path / "results/policy_evaluation_pusht_train.json").read_text())
    assert set(recorded["imagined"]) == {"pusher", "hold", "random"} and len(recorded["real"]["hold"]) == 2
    with pytest.raises(ValueError, match="unknown policy 'pushr'"):
        main(replace(config, policies=("pushr",)))
    with pytest.raises(ValueError, match="num_starts: expected at least 1"):
        main(replace(config, num_starts=0))
