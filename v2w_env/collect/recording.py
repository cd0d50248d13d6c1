"""One recorded episode: playing it in an environment and keeping it safely on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from v2w_env.collect.frames import FrameSource
from v2w_env.collect.policies import PolicyFactory

INFO_PREFIX = "info:"


@dataclass(frozen=True)
class Recording:
    """One episode of T actions.

    Attributes:
        frames: uint8 [T+1 h w 3].
        actions: [T, *action_shape] in the dtype of the action space; `actions[t]` leads from frame t to frame t+1.
        rewards: float32 [T], summed over the skipped steps.
        terminations: bool [T].
        truncations: bool [T]; the last one is True when recording stopped at `max_steps`.
        seed: what the environment was reset with.
        infos: arrays [T+1, ...] of the chosen entries of `info`.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    seed: int
    infos: dict[str, NDArray[Any]] = field(default_factory=dict)


def record_episode(
    env: gym.Env,
    source: FrameSource,
    factory: PolicyFactory,
    seed: np.random.SeedSequence,
    max_steps: int,
    frame_skip: int,
    info_keys: tuple[str, ...],
) -> Recording:
    """Play one episode of at most `max_steps` recorded actions; everything random follows from `seed`.

    Each action is repeated for `frame_skip` steps of the environment (fewer if it ends), and only the frame after the
    last of them is kept.
    """
    env_seed = int(seed.generate_state(1)[0] % 2**31)
    observation, info = env.reset(seed=env_seed)
    policy = factory(env, np.random.default_rng(seed))
    frames, infos = [source(observation)], [_chosen(info, info_keys)]
    actions: list[Any] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    for _ in range(max_steps):
        action = np.array(policy(observation, info), dtype=env.action_space.dtype)
        reward, terminated, truncated = 0.0, False, False
        for _ in range(frame_skip):
            # An env may keep the array it is given, and gymnasium's Discrete wants a scalar.
            native = action.copy() if action.ndim else action[()]
            observation, step_reward, terminated, truncated, info = env.step(native)
            reward += float(step_reward)
            if terminated or truncated:
                break
        actions.append(action)
        rewards.append(reward)
        terminations.append(bool(terminated))
        truncations.append(bool(truncated))
        frames.append(source(observation))
        infos.append(_chosen(info, info_keys))
        if terminated or truncated:
            break
    truncations[-1] = truncations[-1] or not terminations[-1]
    return Recording(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.array(rewards, dtype=np.float32),
        terminations=np.array(terminations, dtype=np.bool_),
        truncations=np.array(truncations, dtype=np.bool_),
        seed=env_seed,
        infos={key: np.stack([entry[key] for entry in infos]) for key in info_keys},
    )


def save_recording(path: Path, recording: Recording) -> None:
    """Write `recording` under a temporary name and rename it: `path` either holds all of it or does not exist.

    Raises:
        OSError: if it cannot be written (disk full); nothing half-written is left behind.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    arrays: dict[str, Any] = {
        "frames": recording.frames,
        "actions": recording.actions,
        "rewards": recording.rewards,
        "terminations": recording.terminations,
        "truncations": recording.truncations,
        "seed": np.int64(recording.seed),
    }
    arrays |= {INFO_PREFIX + key: value for key, value in recording.infos.items()}
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def load_recording(path: Path) -> Recording:
    """Read what `save_recording` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Recording(
            frames=arrays["frames"],
            actions=arrays["actions"],
            rewards=arrays["rewards"],
            terminations=arrays["terminations"],
            truncations=arrays["truncations"],
            seed=int(arrays["seed"]),
            infos={key[len(INFO_PREFIX) :]: arrays[key] for key in arrays.files if key.startswith(INFO_PREFIX)},
        )


def _chosen(info: dict[str, Any], keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    missing = [key for key in keys if key not in info]
    if missing:
        raise ValueError(f"info_keys: {missing} not in the info of the environment, which holds {sorted(info)}")
    return {key: np.array(info[key]) for key in keys}
