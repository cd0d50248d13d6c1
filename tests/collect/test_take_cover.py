"""The real Doom: Take Cover, as recorded: ViZDoom's own game, with a last frame, tics as the return, and seeds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

if sys.version_info >= (3, 13):
    pytest.skip("the extra brings no ViZDoom for this Python", allow_module_level=True)

import v2w_env  # noqa: F401  registers the environment
from configs import load
from v2w_env.collect import CollectConfig, collect, doom_policy
from v2w_env.collect.doom_policy import BEHAVIOURS, ENDS, doom_ends, doom_mix, fireballs
from v2w_env.collect.take_cover import LEFT, RIGHT, STAND, TakeCover
from world_model.data import read_minari


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env]:
    env = gym.make("DoomTakeCover-v0")
    yield env
    env.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[TakeCover]:
    env = TakeCover(last_frame="black")
    yield env
    env.close()


def play(
    env: gym.Env, seed: int, act: Callable[[np.ndarray, int], int]
) -> tuple[list[np.ndarray], list[float], list[float], bool]:
    """Frames, rewards, healths and whether the player died."""
    frame, info = env.reset(seed=seed)
    frames, rewards, healths = [frame], [], [info["health"]]
    ended = False
    while not ended and len(rewards) < 120:
        frame, reward, ended, _, info = env.step(np.int64(act(frame, len(rewards))))
        frames.append(frame)
        rewards.append(float(reward))
        healths.append(float(info["health"]))
    return frames, rewards, healths, ended


def strafe(frame: np.ndarray, step: int) -> int:
    return (LEFT, STAND, RIGHT, STAND)[step // 3 % 4]


def test_the_last_frame_changes_nothing_before_it(env: gym.Env, plain: TakeCover) -> None:
    for seed in (1, 3):
        shown, rewards, healths, died = play(env, seed, strafe)
        black, plain_rewards, plain_healths, plain_died = play(plain, seed, strafe)
        assert died and plain_died and rewards == plain_rewards and healths == plain_healths
        assert all(np.array_equal(a, b) for a, b in zip(shown[:-1], black[:-1], strict=True))
        assert shown[-1].any() and not black[-1].any()
        assert healths[0] == 100 and healths[-1] == 0 and rewards[-1] <= 4 and set(rewards[:-1]) == {4.0}


def test_seeds_make_episodes_and_the_generator_goes_on(env: gym.Env) -> None:
    first, again = play(env, 5, strafe)[0], play(env, 5, strafe)[0]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    env.reset(seed=5)
    env.reset()
    unseeded = [env.step(STAND)[0] for _ in range(20)]
    env.reset(seed=5)
    env.reset()
    assert all(np.array_equal(env.step(STAND)[0], frame) for frame in unseeded)
    assert any(not np.array_equal(a, b) for a, b in zip(unseeded, first[1:], strict=False))


def test_right_moves_the_view_right(env: gym.Env) -> None:
    seen = {}
    for action in (STAND, RIGHT, LEFT):
        env.reset(seed=0)
        for _ in range(6):
            seen[action] = env.step(action)[0]
    # The brown side wall comes closer on the side that one walks to: more of that half is not floor or ceiling grey.
    colour = {action: np.ptp(frame.astype(int), axis=2) > 12 for action, frame in seen.items()}
    assert colour[RIGHT][:, 40:].sum() > colour[LEFT][:, 40:].sum()
    assert colour[LEFT][:, :24].sum() > colour[RIGHT][:, :24].sum()


def test_conforms_and_says_what_is_wrong(env: gym.Env, plain: TakeCover) -> None:
    assert env.observation_space == gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert env.spec is not None and env.spec.max_episode_steps == 525
    plain.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="got 3"):
        plain.step(np.int64(3))
    play(plain, 1, strafe)
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        plain.step(np.int64(0))
    with pytest.raises(ValueError, match="last_frame.*'white'"):
        TakeCover(last_frame="white")  # type: ignore[arg-type]


def test_fireballs_are_seen_where_they_are() -> None:
    frame = np.full((64, 64, 3), 80, np.uint8)
    frame[40:48, 44:50] = (250, 220, 90)  # right of the middle, near
    frame[35:37, 10:13] = (255, 255, 230)  # left, far
    frame[10:20, 30:40] = (250, 220, 90)  # above the horizon: no fireball
    near, far = sorted(fireballs(frame), key=lambda ball: -ball.pixels)
    assert (near.pixels, near.bearing, near.lowest) == (48, 46.5 - 31.5, 47)
    assert (far.pixels, far.bearing, far.lowest) == (6, 11 - 31.5, 36)


def test_the_dodger_steps_away() -> None:
    frame = np.full((64, 64, 3), 80, np.uint8)
    for column, away in ((35, LEFT), (24, RIGHT)):
        frame[...] = 80
        frame[44:56, column : column + 6] = (250, 220, 90)
        assert all(doom_policy.Dodge(np.random.default_rng(seed))(frame) == away for seed in range(8))


def test_the_hider_goes_to_one_end_and_stays() -> None:
    frame = np.full((64, 64, 3), 80, np.uint8)
    sides = set()
    for seed in range(8):
        hide = doom_policy.Hide(np.random.default_rng(seed))
        chosen = [hide(frame) for _ in range(300)]
        way = chosen.index(STAND)
        assert way >= 20 and len(set(chosen[:way])) == 1  # from the middle of the room, either end is 16 actions away
        assert set(chosen[way : way + 10]) == {STAND} and set(chosen) == {STAND, LEFT, RIGHT}
        sides.add(chosen[0])
    assert sides == {LEFT, RIGHT}


def test_shares_of_behaviours_add_up() -> None:
    assert sum(BEHAVIOURS.values()) == pytest.approx(1.0) == sum(ENDS.values())
    assert "hide" not in BEHAVIOURS  # the shipped model's recording, which is the same as long as the mix is


@pytest.mark.parametrize("behaviour", list(ENDS))
def test_behaviours_move_both_ways_and_follow_from_the_generator(
    behaviour: str, monkeypatch: pytest.MonkeyPatch, env: gym.Env
) -> None:
    monkeypatch.setattr(doom_policy, "ENDS", {behaviour: 1.0})
    frame = np.full((64, 64, 3), 80, np.uint8)
    chosen = []
    for _ in range(2):
        policies = [doom_ends(env, np.random.default_rng(seed)) for seed in range(5)]
        chosen.append([[int(policy(frame, {})) for _ in range(60)] for policy in policies])
    assert chosen[0] == chosen[1]
    assert {LEFT, RIGHT} <= set(np.ravel(chosen[0])) <= {STAND, LEFT, RIGHT}


def test_mix_wants_three_actions() -> None:
    with pytest.raises(ValueError, match="Discrete\\(3\\).*random"):
        doom_mix(gym.make("CartPole-v1"), np.random.default_rng(0))


def test_the_recipe_records_it(tmp_path: Path) -> None:
    recipe = load("collect", ["dataset=doom_take_cover"])["dataset"]
    config = CollectConfig(
        env_id=recipe["env_id"],
        out=tmp_path / "doom",
        env_kwargs=recipe["env_kwargs"],
        num_episodes=3,
        max_steps=10,
        frame_skip=recipe["frame_skip"],
        policy=recipe["policy"],
        info_keys=tuple(recipe["info_keys"]),
        progress=False,
    )
    data = read_minari(collect(config))
    episode = data.episode(0)
    assert episode.frames.shape == (11, 64, 64, 3) and episode.infos is not None
    assert np.all(episode.rewards == 4) and np.all(episode.infos["health"] == 100)
    assert data.action_spec.kind == "discrete" and data.action_spec.nvec == (3,) and data.fps == 8.75
