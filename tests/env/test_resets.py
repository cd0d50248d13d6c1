"""Where episodes start, and what bad options get."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded

from tests.env.conftest import BOX, SIZE, small_clips
from v2w_env import EnvConfig, EpisodeSource, ImageSource, Start, Vid2WorldEnv, Vid2WorldVectorEnv
from v2w_env.resets import DatasetSource
from world_model.model import WorldModel

CLIPS = small_clips()
FRAMES, ACTIONS = CLIPS["frames"], CLIPS["actions"].astype(np.float32)
STEP = np.array([100, 200], np.float32)


def test_recorded_clips_are_reported_and_shown(model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 8)
    observations, infos = env.reset(seed=0)
    assert set(infos["reset_source"]) == {"episodes"} and len(set(infos["reset_clip"])) > 1
    for frame, clip, offset in zip(observations, infos["reset_clip"], infos["reset_offset"], strict=True):
        assert np.array_equal(frame, FRAMES[clip, offset + 3])


def test_a_bundle_brings_its_clips(bundle: Path) -> None:
    _, info = Vid2WorldEnv(EnvConfig(checkpoint=bundle)).reset(seed=0)
    assert info["reset_source"] == "episodes" and isinstance(info["reset_clip"], int)
    from_file = EnvConfig(checkpoint=bundle, reset_source=bundle / "episodes.npz")
    assert Vid2WorldEnv(from_file).reset(seed=0)[1] == info


def test_first_frames_only() -> None:
    source = EpisodeSource(FRAMES, ACTIONS, context_frames=4, start="first")
    assert all(source.sample(np.random.default_rng(seed)).info["reset_offset"] == 0 for seed in range(5))


class ThreeEpisodes:
    """As much of a dataset as a source of starts needs: episodes of 2, 3 and 6 frames, each frame saying which."""

    lengths = (2, 3, 6)

    def ids(self, part: str | None) -> list[int]:
        return [0, 1, 2]

    def num_frames(self, index: int) -> int:
        return self.lengths[index]

    def read(self, index: int, start: int, stop: int) -> SimpleNamespace:
        frames = np.arange(start, stop, dtype=np.uint8)[:, None, None, None]
        return SimpleNamespace(frames=frames, actions=np.zeros((stop - start - 1, 2), np.float32))


def test_no_dream_starts_where_an_episode_is_over() -> None:
    source = DatasetSource(ThreeEpisodes(), context_frames=3)  # type: ignore[arg-type]
    starts = [source.sample(np.random.default_rng(seed)) for seed in range(60)]
    last = {(start.info["reset_episode"], int(start.frames[-1, 0, 0, 0])) for start in starts}
    assert last == {(0, 1), (1, 2), (2, 2), (2, 3), (2, 4)}, "but for episodes no longer than the context"


def test_images(model: WorldModel) -> None:
    images = FRAMES[:, 0]
    env = Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=images))
    observation, info = env.reset(seed=0)
    assert info["reset_source"] == "images" and np.array_equal(observation, images[info["reset_image"]])
    env.step(STEP)
    repeated = ImageSource(images, BOX, repeat=3, action=STEP).sample(np.random.default_rng(0))
    assert repeated.frames.shape == (3, *SIZE, 3) and np.array_equal(repeated.actions, [STEP, STEP])
    assert (repeated.frames == repeated.frames[0]).all()
    assert ImageSource(images, BOX, repeat=2).actions.tolist() == [[0, 0]]


def test_frames_and_actions_from_options(model: WorldModel, source: EpisodeSource) -> None:
    """One clip for all, or one each; and the actions of the context matter."""
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 2)
    shared = {"frames": FRAMES[0, :3], "actions": ACTIONS[0, :2]}
    observations, infos = env.reset(seed=[0, 0], options=shared)
    assert infos["reset_source"].tolist() == ["options"] * 2
    assert np.array_equal(observations, FRAMES[[0, 0], 2])
    first = env.step(np.stack([STEP, STEP]))[0]
    each = {"frames": FRAMES[[0, 1], :3], "actions": np.stack([ACTIONS[0, :2], ACTIONS[1, :2]])}
    assert np.array_equal(env.reset(seed=[0, 0], options=each)[0], FRAMES[:2, 2])
    assert np.abs(env.step(np.stack([STEP, STEP]))[0][0].astype(int) - first[0]).max() <= 1
    env.reset(seed=[0, 0], options=shared | {"actions": 512 - ACTIONS[0, :2]})
    assert np.abs(env.step(np.stack([STEP, STEP]))[0].astype(int) - first).max() > 1


def test_a_single_frame_needs_no_actions(model: WorldModel) -> None:
    env = Vid2WorldEnv(EnvConfig(checkpoint=model))
    observation, info = env.reset(options={"frames": FRAMES[0, :1]})
    assert np.array_equal(observation, FRAMES[0, 0]) and info == {"reset_source": "options"}
    env.step(STEP)


def test_actions_in_options_use_the_units_of_the_action_space(model: WorldModel) -> None:
    def first_step(action_range: Any, actions: np.ndarray, step: np.ndarray) -> np.ndarray:
        env = Vid2WorldEnv(EnvConfig(checkpoint=model, action_range=action_range))
        env.reset(seed=0, options={"frames": FRAMES[0, :2], "actions": actions})
        return env.step(step)[0]

    native = first_step("native", np.array([[128, 384]]), np.array([0, 512]))
    assert np.array_equal(native, first_step("normalized", np.array([[-0.5, 0.5]]), np.array([-1, 1])))


def test_histories_of_different_length_share_a_batch(model: WorldModel) -> None:
    """Each row of a mixed batch goes on as it would alone."""

    class Mixed:
        def sample(self, rng: np.random.Generator) -> Start:
            length = int(rng.integers(1, 5))
            return Start(FRAMES[0, :length], ACTIONS[0, : length - 1], {"length": length})

    config = EnvConfig(checkpoint=model, reset_source=Mixed())
    batch = Vid2WorldVectorEnv(config, 4)
    observations, infos = batch.reset(seed=0)
    assert len(set(infos["length"])) > 1
    for row in range(4):
        single = Vid2WorldEnv(config)
        assert np.array_equal(single.reset(seed=row)[0], observations[row])
    stepped = batch.step(np.stack([STEP] * 4))[0]
    for row in range(4):
        single = Vid2WorldEnv(config)
        single.reset(seed=row)
        assert np.abs(single.step(STEP)[0].astype(int) - stepped[row]).max() <= 1


def test_reset_does_not_keep_the_callers_arrays(model: WorldModel) -> None:
    frames = FRAMES[0, :1].copy()
    env = Vid2WorldEnv(EnvConfig(checkpoint=model, render_mode="rgb_array"))
    observation, _ = env.reset(options={"frames": frames})
    frames[:] = 0
    observation[:] = 0
    assert np.array_equal(env.render(), FRAMES[0, 0])


def without(**options: Any) -> dict[str, Any]:
    return {"frames": FRAMES[0, :3], "actions": ACTIONS[0, :2]} | options


BAD_OPTIONS: list[tuple[Any, str]] = [
    ({"frame": FRAMES[0]}, "unknown reset option 'frame': did you mean 'frames'"),
    ({"zzz": 1}, "unknown reset option 'zzz': known: frames, actions, goal"),
    (without(frames=FRAMES[0, :3].astype(np.float32)), r"options\['frames'\]: expected dtype uint8.*got float32"),
    (without(frames=FRAMES[0, :3, :20]), r"expected shape \[t h w 3\] or \[n t h w 3\] with h=40, w=40, got \(3, 20"),
    (without(frames=FRAMES[0, 0]), r"expected shape \[t h w 3\]"),
    (without(frames=FRAMES[0, :0]), "expected at least one frame"),
    (without(frames=FRAMES[:3, :3]), "one entry for each of 2 sub-envs, got 3"),
    ({"frames": FRAMES[0, :3]}, r"3 frames need the 2 actions between them, shape \(2, 2\)"),
    ({"actions": ACTIONS[0, :2]}, r"given without options\['frames'\]"),
    (without(actions=ACTIONS[0, :3]), r"options\['actions'\]: expected shape \(2, 2\).*got shape \(3, 2\)"),
    (without(actions=ACTIONS[0, :2] + 600), r"options\['actions'\].*out of bounds"),
    (without(actions=np.full((2, 2), np.nan)), r"options\['actions'\].*NaN"),
    ({"frames": FRAMES[0, :1], "actions": ACTIONS[0, :1]}, "a single frame has no actions before it"),
    ({"goal": FRAMES[0, 0]}, "this environment's reward takes none"),
    ({"reset_mask": np.array([True])}, r"expected shape \(2,\)"),
    ({"reset_mask": np.zeros(2, bool)}, "at least one True"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=range(len(BAD_OPTIONS)))
def test_bad_options_change_nothing(model: WorldModel, source: EpisodeSource, options: Any, message: str) -> None:
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 2)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match=message):
        env.reset(seed=9, options=options)
    after = env.get_state()
    assert env.np_random_seed == (0, 1) and np.array_equal(before.frames, after.frames)  # type: ignore[arg-type]
    assert torch.equal(before.rngs[0].torch_state, after.rngs[0].torch_state)


def test_bad_masks_and_seeds(model: WorldModel, source: EpisodeSource) -> None:
    env = Vid2WorldVectorEnv(EnvConfig(checkpoint=model, reset_source=source), 2)
    with pytest.raises(ResetNeeded, match="reset all sub-envs once"):
        env.reset(options={"reset_mask": np.array([True, False])})
    for mask in ([True, False], np.array([1, 0])):
        with pytest.raises(TypeError, match="numpy array of bools"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="one seed for each of 2 sub-envs, got 3"):
        env.reset(seed=[1, 2, 3])
    options = {"reset_mask": np.array([True, True])}
    env.reset(seed=[3, None], options=options)
    assert "reset_mask" in options, "the caller's dict is left alone"
    with pytest.raises(ValueError, match="only vector environments"):
        Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=source)).reset(options=options)


def test_nothing_to_start_from(model: WorldModel) -> None:
    with pytest.raises(ValueError, match=r"no recorded clips.*options=\{'frames'"):
        Vid2WorldEnv(EnvConfig(checkpoint=model)).reset()


def test_bad_clip_files(tmp_path: Path, model: WorldModel) -> None:
    whole = tmp_path / "whole.npz"
    np.savez(whole, frames=FRAMES, actions=ACTIONS)
    files = {name: tmp_path / f"{name}.npz" for name in ("truncated", "foreign", "keys", "lengths", "dtype")}
    files["truncated"].write_bytes(whole.read_bytes()[:1000])
    files["foreign"].write_text("not an archive")
    np.savez(files["keys"], frames=FRAMES)
    np.savez(files["lengths"], frames=FRAMES, actions=ACTIONS[:, :2])
    np.savez(files["dtype"], frames=FRAMES.astype(np.float32), actions=ACTIONS)
    for name, path in files.items():
        with pytest.raises(ValueError, match=f"{name}.npz"):
            Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=path))
    with pytest.raises(ValueError, match="expected actions of shape"):
        Vid2WorldEnv(EnvConfig(checkpoint=model, reset_source=EpisodeSource(FRAMES, ACTIONS[..., :1], 4)))
