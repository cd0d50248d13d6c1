"""Dreams beside their simulator, which is put where the dream is and says what truly comes next.

A long dream goes astray: errors of a step are the past of the next. Episodes as recorded teach nothing about such
pasts, and a dream that is compared with the recording is asked for what it cannot know. Here the simulator follows the
dream: before each step it is put into the state, near its own, that the newest dreamt frame shows, and the frame that
it gives next is what the network should have dreamt (DAgger, Ross et al. 2011). Training on that (`corrections=FOLDER`
of `v2w train`) asks for the same step from where the dream is, with whole shapes. Dreams that run free soon show shapes
that no simulator has; as often as `settled_shares` says they go on from what the simulator shows in its new state.

The folder that comes out:

    corrections.json           the configuration, and which weights dreamt
    parts/*.safetensors        finished batches while recording; gone once they are put together
    corrections.safetensors    latents of dreams and of what truly came next, see `world_model.trainer.corrections`
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from v2w_env.collect.frames import FrameSource
from v2w_env.collect.policies import Policy, named_function, resolve_policy
from v2w_env.collect.pusht_block import settle_pusht
from v2w_env.collect.simulator import make_simulator
from v2w_env.frames import to_model, to_pixels
from v2w_env.spaces import space_from_spec
from world_model.model import WorldModel
from world_model.progress import progress_bar
from world_model.trainer.corrections import FILE
from world_model.trainer.latents import weights_digest
from world_model.types import WorldState

CONFIG_NAME = "corrections.json"

Settle = Callable[[gym.Env, NDArray[np.uint8]], tuple[Any, dict[str, Any]]]
SETTLERS: dict[str, Settle] = {"pusht": settle_pusht}


@dataclass(frozen=True)
class CorrectionConfig:
    """What to dream, and beside which simulator.

    Attributes:
        world_model: folder of the world model that dreams; one that samples without chance is best.
        folder: where the corrections go. The same command again goes on with a run that was interrupted.
        env_id: the simulator, as in `CollectConfig`.
        env_kwargs: its arguments.
        policy: what acts, as in `CollectConfig`; it sees the simulator.
        settle: how the simulator is put where a frame shows it: a key of `SETTLERS`, or "module:function" (see
            `resolve_settle`).
        num_episodes: dreams.
        max_steps: actions in each at most, those between the context frames included.
        settled_shares: how often a dream goes on from the frame that the simulator shows in its place, and not from its
            own. One of these is drawn for each dream: (0,) lets all run free.
        batch: dreams at a time; changes the speed, and nothing else but rounding.
        seed: seeds everything.
        progress: show a progress bar.

    Raises:
        ValueError: if a value is out of range; names the field.
    """

    world_model: str | Path
    folder: str | Path
    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    policy: str = "random"
    settle: str = "pusht"
    num_episodes: int = 480
    max_steps: int = 40
    settled_shares: tuple[float, ...] = (0.0,)
    batch: int = 48
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("num_episodes", "max_steps", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed: expected an integer >= 0, got {self.seed!r}")
        if not self.settled_shares or not all(0 <= share <= 1 for share in self.settled_shares):
            raise ValueError(f"settled_shares: expected one or more of 0..1, got {list(self.settled_shares)}")

    def identity(self) -> dict[str, Any]:
        """What decides about the corrections, as plain JSON values."""
        facts = {key: value for key, value in asdict(self).items() if key not in ("folder", "progress")}
        plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        return plain


def resolve_settle(name: str) -> Settle:
    """The function called `name`: a key of `SETTLERS`, or "module:function" of your own.

    It is called as `settle(env, frame)` with the simulator and a dreamt frame uint8 [h w 3] of the same moment. It puts
    the simulator into the state near its own that the frame shows, and returns its observation there and what has
    changed of its `info`.

    Raises:
        ValueError: if the name is unknown or the import path does not lead to a callable.
    """
    return named_function("settle", name, SETTLERS, "(env, frame) -> (observation, info)")


def correct(config: CorrectionConfig) -> Path:
    """Dream `config.num_episodes` episodes beside the simulator.

    Returns:
        the folder `config.folder`.

    Raises:
        ValueError: for a bad configuration, no world model or one that does not fit the simulator, or a folder that
            holds something else.
    """
    settle, folder = resolve_settle(config.settle), Path(config.folder)
    resolve_policy(config.policy)
    world = WorldModel.from_pretrained(config.world_model)
    if world.config.action_block > 1 or world.config.frame_skip > 1 or world.conditioner is not None:
        raise ValueError(
            f"world_model: expected one that takes single actions of the simulator and has no conditioner, got "
            f"{config.world_model}"
        )
    _check_actions(config, world)
    _claim(folder, config.identity() | {"weights": weights_digest(world)})
    if (folder / FILE).exists():
        return folder
    (folder / "parts").mkdir(exist_ok=True)
    episodes = range(config.num_episodes)
    batches = [episodes[first : first + config.batch] for first in episodes[:: config.batch]]
    for number, batch in enumerate(progress_bar(batches, "correcting dreams", "batch", len(batches), config.progress)):
        path = folder / "parts" / f"{number:04d}.safetensors"
        if not path.exists():
            _write(path, _Company(config, world, settle, batch).dream())
    parts = [load_file(path) for path in sorted((folder / "parts").iterdir()) if not path.name.startswith(".")]
    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    _write(folder / FILE, together, {"autoencoder": weights_digest(world.autoencoder)})
    shutil.rmtree(folder / "parts")
    return folder


class _Company:
    """Some episodes of the simulator, and a batch of dreams beside them."""

    def __init__(self, config: CorrectionConfig, world: WorldModel, settle: Settle, episodes: range) -> None:
        self.config, self.world, self.settle = config, world, settle
        # The last number keeps these episodes apart from those of a recording with the same seed.
        seeds = [np.random.SeedSequence([config.seed, episode, 1]) for episode in episodes]
        self.chance = [np.random.default_rng([config.seed, episode, 2]) for episode in episodes]
        self.shares = [chance.choice(config.settled_shares) for chance in self.chance]
        self.generators = [torch.Generator().manual_seed(int(seed.generate_state(2)[1])) for seed in seeds]
        self.envs = [make_simulator(config.env_id, config.env_kwargs) for _ in seeds]
        self.sources = [FrameSource(env, world.config.frame_size) for env in self.envs]
        self.policies: list[Policy] = []
        self.shown: list[tuple[Any, dict[str, Any]]] = []
        for env, seed in zip(self.envs, seeds, strict=True):
            self.shown.append(env.reset(seed=int(seed.generate_state(1)[0] % 2**31)))
            self.policies.append(resolve_policy(config.policy)(env, np.random.default_rng(seed)))
        self.frames = np.stack([source(seen[0]) for source, seen in zip(self.sources, self.shown, strict=True)])
        self.lengths = np.zeros(len(seeds), np.int64)  # actions of each episode
        self.alive = np.ones(len(seeds), np.bool_)

    @torch.inference_mode()
    def dream(self) -> dict[str, Tensor]:
        """The fields of `EncodedEpisodes`, of episodes longer than the context."""
        context, spec = self.world.config.context_frames, self.world.config.actions
        actions: list[Tensor] = []
        true = [self._encode(self.frames)]
        dreamt = list(true)
        state: WorldState | None = None
        try:
            while len(actions) < self.config.max_steps and self.alive.any():
                if state is None and len(dreamt) == context:
                    between = torch.stack(actions, 1) if actions else torch.zeros(len(self.envs), 0, spec.size)
                    state = self.world.init_state(torch.stack(dreamt, 1), between, self.generators)
                actions.append(self._act())
                true.append(self._encode(self.frames))
                if state is None:
                    dreamt.append(true[-1])
                    continue
                state, latents = self.world.step(state, actions[-1], self.generators)
                self._settle(to_pixels(self.world.decode(latents[:, None])[:, 0]))
                dreamt.append(self._put_right(latents.float()))
                state = replace(state, latent=dreamt[-1])
        finally:
            for env in self.envs:
                env.close()
        kept = (self.lengths >= context).nonzero()[0].tolist()
        if not kept:
            raise ValueError(f"max_steps: expected episodes of more than {context} frames, got none in a batch")

        def flat(steps: list[Tensor], more: int) -> Tensor:
            together = torch.stack(steps, 1)
            return torch.cat([together[row, : int(self.lengths[row]) + more] for row in kept]).contiguous()

        return {
            "latents": flat(true, 1).half(),
            "histories": flat(dreamt, 1).half(),
            "actions": flat(actions, 0),
            "lengths": torch.from_numpy(self.lengths[kept]),
        }

    def _act(self) -> Tensor:
        """Step the simulators; the actions as the network sees them, [b a]."""
        spec = self.world.config.actions
        taken = np.zeros((len(self.envs), *spec.shape), spec.dtype)
        for row in self.alive.nonzero()[0]:
            taken[row] = self.policies[row](*self.shown[row])
            action = taken[row].copy() if spec.shape else taken[row]
            observation, _, terminated, truncated, info = self.envs[row].step(action)
            self.shown[row] = (observation, info)
            self.frames[row] = self.sources[row](observation)
            self.lengths[row] += 1
            self.alive[row] = not (terminated or truncated)
        return spec.to_tensor(taken)

    def _settle(self, frames: NDArray[np.uint8]) -> None:
        for row in self.alive.nonzero()[0]:
            found = self.settle(self.envs[row], frames[row])
            if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
                raise ValueError(f"settle: expected it to return (observation, info), got {type(found).__name__}")
            observation, changed = found
            self.shown[row] = (observation, self.shown[row][1] | changed)
            self.frames[row] = self.sources[row](observation)

    def _put_right(self, latents: Tensor) -> Tensor:
        """The newest frames of the dreams, some as the simulators show them."""
        right = [chance.random() < share for chance, share in zip(self.chance, self.shares, strict=True)]
        if not any(right):
            return latents
        return torch.where(torch.tensor(right)[:, None, None, None], self._encode(self.frames), latents)

    def _encode(self, frames: NDArray[np.uint8]) -> Tensor:
        return self.world.encode(to_model(frames[:, None], self.world.device))[:, 0]


def _check_actions(config: CorrectionConfig, world: WorldModel) -> None:
    with closing(make_simulator(config.env_id, config.env_kwargs)) as env:
        expected, space = space_from_spec(world.config.actions), env.action_space
    if expected != space:
        raise ValueError(f"env_id: expected a simulator with the world model's actions, {expected}, got {space}")


def _claim(folder: Path, now: dict[str, Any]) -> None:
    """Write the facts about these corrections, or check that what is in the folder was made with the same."""
    path = folder / CONFIG_NAME
    if path.exists():
        before = json.loads(path.read_text())
        changed = [f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if before.get(key) != now[key]]
        if changed:
            raise ValueError(
                f"folder: {folder} holds corrections with another configuration ({'; '.join(changed)}); choose another "
                "folder or delete it"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder: {folder} is not empty and holds no {CONFIG_NAME}; choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=2) + "\n")


def _write(path: Path, tensors: dict[str, Tensor], facts: dict[str, str] | None = None) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, facts)
    os.replace(temporary, path)
