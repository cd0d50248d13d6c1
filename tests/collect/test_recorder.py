"""Recording: what is stored, that it does not depend on workers, and that nothing finished is ever lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
import toy_envs

from v2w_env.collect import CollectConfig, collect, workers
from v2w_env.collect.assemble import dataset_id
from v2w_env.collect.recording import load_recording

TOY = f"{toy_envs.__name__}:Toy-v0"
NO_PIXELS = f"{toy_envs.__name__}:NoPixels-v0"


def toy(out: Path, **changes: Any) -> CollectConfig:
    return replace(CollectConfig(TOY, out, num_episodes=3, max_steps=5, progress=False), **changes)


def contents(out: Path) -> list[tuple[np.ndarray, ...]]:
    dataset = minari.MinariDataset(out / "data")
    return [(e.observations, e.actions, e.rewards, e.terminations, e.truncations) for e in dataset]


def same(first: Path, second: Path) -> bool:
    pairs = zip(contents(first), contents(second), strict=True)
    return all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


def test_pusht_pixels_are_stored_losslessly_with_what_led_to_them(tmp_path: Path) -> None:
    kwargs = {"obs_type": "pixels", "observation_width": 32, "observation_height": 32}
    config = CollectConfig(
        "gym_pusht/PushT-v0",
        tmp_path / "pusht-v0",
        kwargs,
        num_episodes=2,
        max_steps=6,
        policy="pusht_mix",
        info_keys=("block_pose",),
        progress=False,
    )
    out = collect(config)
    assert sorted(path.name for path in out.iterdir()) == ["collect.json", "data"]
    dataset = minari.MinariDataset(out / "data")
    assert dataset.id == "pusht-v0"
    env = dataset.recover_environment()
    for episode, seed in zip(dataset, dataset.storage.get_episode_metadata(range(2)), strict=True):
        observation, info = env.reset(seed=seed["seed"])
        assert np.array_equal(episode.observations[0], observation)
        for t, action in enumerate(episode.actions):
            observation, reward, terminated, _, info = env.step(action)
            assert np.array_equal(episode.observations[t + 1], observation)
            assert np.array_equal(episode.infos["block_pose"][t + 1], info["block_pose"])
            assert episode.rewards[t] == pytest.approx(reward)
            assert episode.terminations[t] == terminated
        assert list(episode.truncations) == [False] * 5 + [True]
    facts = json.loads((out / "data" / "metadata.json").read_text())["v2w"]
    assert facts["env_id"] == "gym_pusht/PushT-v0" and facts["env_kwargs"] == kwargs
    assert facts["fps"] == 10.0 and facts["frame_size"] == [32, 32] and facts["policy"] == "pusht_mix"


def test_folder_loads_by_name_from_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(toy(tmp_path / "toy-v3"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert minari.load_dataset("toy-v3").total_episodes == 3
    assert list(minari.list_local_datasets()) == ["toy-v3"]
    assert dataset_id("my data") == "my_data-v0"


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(contents(collect(toy(Path("a/b"))))) == 3


def test_environment_without_pixels_is_rendered_and_resized(tmp_path: Path) -> None:
    out = collect(
        CollectConfig("CartPole-v1", tmp_path / "c", num_episodes=1, max_steps=4, frame_size=(24, 36), progress=False)
    )
    frames = contents(out)[0][0]
    assert frames.shape == (5, 24, 36, 3) and frames.std() > 5


@pytest.mark.parametrize("kind", list(toy_envs.SPACES))
def test_every_action_space(tmp_path: Path, kind: str) -> None:
    out = collect(toy(tmp_path / kind, env_kwargs={"kind": kind}))
    dataset = minari.MinariDataset(out / "data")
    space = toy_envs.SPACES[kind]
    assert dataset.action_space == space
    for episode in dataset:
        assert all(space.contains(action if action.shape else action[()]) for action in episode.actions)


def test_own_image_of_another_size_is_resized(tmp_path: Path) -> None:
    frames = contents(collect(toy(tmp_path / "r", frame_size=(6, 8))))[0][0]
    assert frames.shape == (6, 6, 8, 3)
    assert np.array_equal(np.diff(frames[:, 0, 0, 0].astype(int)), np.ones(5))


def test_frame_skip_repeats_actions_sums_rewards_and_lowers_fps(tmp_path: Path) -> None:
    out = collect(toy(tmp_path / "s", frame_skip=4, num_episodes=1))
    frames, actions, rewards, terminations, truncations = contents(out)[0]
    assert list(np.diff(frames[:, 0, 0, 0].astype(int))) == [4, 4, 1]  # the toy ends after 9 steps
    assert list(rewards) == [4.0, 4.0, 1.0] and len(actions) == 3
    assert list(terminations) == [False, False, True] and not truncations.any()
    facts = json.loads((out / "data" / "metadata.json").read_text())["v2w"]
    assert facts["fps"] == 5.0 and facts["render_fps"] == 20.0 and facts["frame_skip"] == 4


def test_workers_and_seeds(tmp_path: Path) -> None:
    one = collect(toy(tmp_path / "one", num_episodes=4))
    two = collect(toy(tmp_path / "two", num_episodes=4, num_workers=2))
    other = collect(toy(tmp_path / "other", num_episodes=4, seed=1))
    assert same(one, two)
    assert not same(one, other)


def test_more_episodes_extend_and_finished_ones_stay(tmp_path: Path) -> None:
    full = collect(toy(tmp_path / "full", num_episodes=5))
    grown = collect(toy(tmp_path / "grown", num_episodes=2))
    collect(toy(tmp_path / "grown", num_episodes=5))
    collect(toy(tmp_path / "grown", num_episodes=5))
    assert same(full, grown)


def test_killed_run_loses_no_finished_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect(toy(tmp_path / "whole", num_episodes=6))
    out = tmp_path / "killed"
    # A run that stops dead, in the middle of writing episode 3.
    script = f"""
import os, signal, sys
from pathlib import Path
from v2w_env.collect import CollectConfig, collect, recording
replace_file = os.replace
def die(source, target):
    if str(target).endswith("000003.npz"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace_file(source, target)
recording.os.replace = die
collect(CollectConfig({TOY!r}, Path({str(out)!r}), num_episodes=6, max_steps=5, progress=False))
"""
    roots = [str(Path(workers.__file__).parents[2]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    finished = sorted((out / "episodes").glob("*.npz"))
    assert [path.name for path in finished] == ["000000.npz", "000001.npz", "000002.npz"]
    assert list((out / "episodes").glob("*.tmp"))
    assert all(load_recording(path).frames.shape == (6, 12, 10, 3) for path in finished)

    recorded: list[str] = []
    save = workers.save_recording
    monkeypatch.setattr(workers, "save_recording", lambda path, data: recorded.append(path.name) or save(path, data))
    collect(toy(out, num_episodes=6))
    assert recorded == ["000003.npz", "000004.npz", "000005.npz"]
    assert same(whole, out)
    assert not (out / "episodes").exists()


def test_workers_stop_when_the_run_is_killed(tmp_path: Path) -> None:
    config = toy(tmp_path / "o", num_episodes=4)
    config.episodes_folder.mkdir(parents=True)
    assert list(workers._record_here(config, [0, 1], parent=os.getppid() + 10**6)) == []
    assert not list(config.episodes_folder.iterdir())


def test_full_disk_keeps_finished_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect(toy(tmp_path / "whole"))
    savez, calls = np.savez_compressed, []

    def full(file: Any, **arrays: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            file.write(b"half of an episode")
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(file, **arrays)

    out = tmp_path / "full"
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"No space left.*2 finished episodes are kept.*run the same command") as caught:
        collect(toy(out))
    assert caught.value.errno == errno.ENOSPC
    assert sorted(path.name for path in (out / "episodes").iterdir()) == ["000000.npz", "000001.npz"]
    assert not (out / "data").exists()
    monkeypatch.undo()
    assert same(collect(toy(out)), whole)


def test_full_disk_while_assembling_keeps_the_old_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from v2w_env.collect import assemble

    out = collect(toy(tmp_path / "d", num_episodes=2))
    before = contents(out)

    def full(self: Any, episodes: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    storage = type(minari.MinariDataset(out / "data").storage)
    monkeypatch.setattr(storage, "update_episodes", full)
    with pytest.raises(OSError, match="2 finished episodes are kept"):
        collect(toy(out, num_episodes=4))
    assert len(contents(out)) == len(before) == 2 and not (out / assemble.PARTIAL).exists()
    monkeypatch.undo()
    assert len(contents(collect(toy(out, num_episodes=4)))) == 4


def test_kill_while_swapping_datasets_is_undone(tmp_path: Path) -> None:
    out = collect(toy(tmp_path / "d"))
    (out / "data").rename(out / "data.old")
    (out / "data.partial").mkdir()
    assert len(contents(collect(toy(out)))) == 3
    assert not (out / "data.old").exists() and not (out / "data.partial").exists()


@pytest.mark.slow  # starts four processes
def test_dead_worker_and_failing_policy_are_reported(tmp_path: Path) -> None:
    lethal = toy(tmp_path / "l", policy=f"{toy_envs.__name__}:lethal_policy", num_workers=2)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"worker died .*-9"):
        collect(lethal)
    with pytest.raises(RuntimeError, match="my own mistake"):
        collect(toy(tmp_path / "f", policy=f"{toy_envs.__name__}:failing_policy", num_workers=2))
    assert time.monotonic() - started < 60


def test_folder_of_another_recording_is_refused(tmp_path: Path) -> None:
    out = collect(toy(tmp_path / "d"))
    with pytest.raises(ValueError, match=r"seed: 0 -> 7.*overwrite=true"):
        collect(toy(out, seed=7))
    assert len(contents(collect(toy(out, seed=7, num_episodes=1, overwrite=True)))) == 1
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(ValueError, match="not empty"):
        collect(toy(foreign, overwrite=True))
    assert (foreign / "thesis.tex").exists()


def test_own_policy(tmp_path: Path) -> None:
    out = collect(toy(tmp_path / "d", policy=f"{toy_envs.__name__}:constant_policy"))
    assert not any(actions.any() for _, actions, *_ in contents(out))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"policy": "rndom"},
            r"policy: expected one of \['doom_ends', 'doom_mix', 'pusht_dashing', 'pusht_mix', 'pusht_planning', ",
        ),
        ({"policy": "nowhere:policy"}, "cannot import 'nowhere:policy'"),
        ({"policy": "pusht_mix", "env_kwargs": {"kind": "Discrete"}}, "expect PushT's action space"),
        ({"env_kwargs": {"colour": "red"}}, r"env_kwargs: '.*' does not take \{'colour': 'red'\}.*unexpected keyword"),
        ({"env_id": "NotThere-v0"}, r"cannot make 'NotThere-v0'.*Install"),
        ({"env_id": "not_there/Env-v0"}, "cannot make 'not_there/Env-v0'"),
        ({"env_id": NO_PIXELS}, "gives no image"),
        ({"info_keys": ("pose",)}, r"info_keys: \['pose'\] not in the info"),
        ({"num_episodes": 0}, "num_episodes: expected an integer >= 1"),
        ({"seed": -1}, "seed: expected an integer >= 0"),
        ({"frame_size": (64,)}, "frame_size: expected"),
        ({"env_kwargs": {"callback": print}}, "env_kwargs: expected plain values"),
    ],
)
def test_bad_configuration(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collect(toy(tmp_path / "d", **changes))
    assert not list(tmp_path.rglob("*.npz"))
