"""The batched imagined environment: the one stateful loop around a world model whose state is a value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from v2w_env.config import EnvConfig
from v2w_env.frames import to_pixels
from v2w_env.infos import merge_rows, row_info
from v2w_env.loading import World, load_world
from v2w_env.reset_options import ResetOptions, parse_options, rows_to_reset, seeds_per_env
from v2w_env.rewards import RewardOutput, Transition
from v2w_env.rng import SubEnvRng
from v2w_env.starting import begin, check_resettable, draw_starts, goals_after_reset
from v2w_env.state import EnvState
from world_model.model import WorldModel
from world_model.types import WorldState

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Vid2WorldVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """``num_envs`` imagined environments stepped as one batch.

    Observations are uint8 ``[n h w 3]`` (or float32 latents ``[n c h w]``), actions ``[n *shape]``. Episodes end when
    the reward model says so (terminated) or after ``max_episode_steps`` (truncated); what happens then follows
    ``gymnasium.vector.SyncVectorEnv`` in each :class:`~gymnasium.vector.AutoresetMode`. Sub-environment ``i`` draws
    all its randomness from its own generators, so its trajectory does not depend on the batch it runs in.

    Args:
        config: What to load and how to run it.
        num_envs: Number of sub-environments.
        max_episode_steps: Steps after which an episode is truncated; ``None`` or -1 for never.
        autoreset_mode: An :class:`AutoresetMode` or its value, for example ``"SameStep"``.
        world: Parts already loaded from ``config``, shared instead of loaded again (what :meth:`fork` does).
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it per instance)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        world: World | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs: expected at least 1, got {num_envs}")
        if max_episode_steps is not None and max_episode_steps != -1 and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: expected at least 1, -1 or None, got {max_episode_steps}")
        self.num_envs = num_envs
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = config.render_mode
        self._world: World | None = world or load_world(config)
        self.metadata = {
            **type(self).metadata,
            "render_fps": self._world.model.config.fps,
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space: gym.spaces.Box = self._world.observation_space
        self.single_action_space = self._world.actions.space
        self._pixels = config.observation == "pixels"
        self._rngs: list[SubEnvRng | None] = [None] * num_envs
        self._state: WorldState | None = None
        self._frames: np.ndarray | None = None
        self._goals: torch.Tensor | None = None
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, np.bool_)

    # Batched spaces cost more than a fork may; planners, who fork, do not look at them.
    @cached_property
    def observation_space(self) -> gym.Space[Any]:  # type: ignore[override]
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> gym.Space[Any]:  # type: ignore[override]
        return batch_space(self.single_action_space, self.num_envs)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each sub-environment's generator for resets."""
        return tuple(self.rng(i).numpy for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Each sub-environment's seed."""
        return tuple(self.rng(i).seed for i in range(self.num_envs))

    @property
    def world_model(self) -> WorldModel:
        """The world model behind this environment; environments made from one checkpoint share it."""
        return self._open_world().model

    def rng(self, index: int) -> SubEnvRng:
        """The random streams of one sub-environment, seeded from the operating system if nobody has seeded them."""
        rng = self._rngs[index]
        if rng is None:
            rng = self._rngs[index] = SubEnvRng.from_seed(None)
        return rng

    def set_rng(self, index: int, rng: SubEnvRng) -> None:
        self._rngs[index] = rng

    # ---- reset

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: An int seeds sub-environment ``i`` with ``seed + i``; a list gives one seed (or ``None``) each;
                ``None`` continues the streams.
            options: ``frames``, ``actions``, ``goal`` (see :func:`~v2w_env.resets.parse_options`), and ``reset_mask``,
                bool ``[n]``, the sub-environments to reset; the others keep their state.

        Returns:
            Observations of all sub-environments, and infos that say where each start came from.

        Raises:
            ValueError: Bad options; nothing has changed then.
        """
        world = self._open_world()
        options = dict(options or {})
        rows = rows_to_reset(options.pop("reset_mask", None), self.num_envs)
        if self._state is None and len(rows) < self.num_envs:
            raise ResetNeeded("options['reset_mask']: reset all sub-envs once before resetting some of them")
        parsed = parse_options(options, self.num_envs, world.fit, world.actions)
        check_resettable(world, parsed, self._goals is not None)
        seeds = seeds_per_env(seed, self.num_envs)
        seeded = {int(row): SubEnvRng.from_seed(seeds[row]) for row in rows if seeds[row] is not None}
        for row, rng in seeded.items():
            self._rngs[row] = rng
        infos = self._reset_rows(world, rows, parsed, {})
        return self._observe(), infos

    def _reset_rows(
        self, world: World, rows: np.ndarray, options: ResetOptions, infos: dict[str, Any]
    ) -> dict[str, Any]:
        """Reset the sub-environments ``rows`` and add their infos."""
        starts = draw_starts(world, rows, options, self.rng)
        newest = np.stack([start.frames[-1] for start in starts])
        with torch.no_grad():
            generators = [self.rng(row).torch for row in rows]
            self._state = begin(world.model, starts, generators, rows, self.num_envs, self._state, world.sampling)
            self._goals = goals_after_reset(world, rows, options.goals, self._goals, self.num_envs)
        if self._pixels and self._frames is not None:
            self._frames = self._frames.copy()  # the old array may live on in an EnvState
            self._frames[rows] = newest
        elif self._pixels:
            self._frames = newest
        self._elapsed[rows] = 0
        self._ended[rows] = False
        for row, start in zip(rows, starts, strict=True):
            infos = self._add_info(infos, start.info, int(row))
        return infos

    # ---- step

    def step(self, actions: np.ndarray) -> Step:
        """Imagine one step of every sub-environment.

        In NEXT_STEP mode a sub-environment whose episode is over is reset instead: action ignored, reward 0.

        Args:
            actions: ``[n *shape]`` in :attr:`action_space`.

        Returns:
            Observations, float64 rewards ``[n]``, terminations, truncations, infos.

        Raises:
            gymnasium.error.InvalidAction: Wrong shape or dtype, NaN, out of bounds; nothing has changed then.
            gymnasium.error.ResetNeeded: Before the first reset, or (DISABLED) past the end of an episode.
            gymnasium.error.ClosedEnvironmentError: After :meth:`close`.
        """
        resetting = self._ended.copy()
        return self.step_native(self.check_step(actions, (self.num_envs,), resetting), resetting)

    def check_step(self, actions: Any, lead: tuple[int, ...], resetting: np.ndarray | None = None) -> np.ndarray:
        """Everything that can be wrong with a step, found before anything changes; see :meth:`ActionAdapter.check`."""
        world = self._open_world()
        if self._state is None:
            raise ResetNeeded("step: call reset() before the first step")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(
                f"step: the episodes of sub-envs {np.flatnonzero(self._ended).tolist()} are over; call "
                "reset(), in a vector environment reset(options={'reset_mask': ...})"
            )
        return world.actions.check(actions, lead, "actions" if lead else "action", resetting)

    def step_native(self, native: np.ndarray, resetting: np.ndarray) -> Step:
        """:meth:`step` behind its checks: valid actions in the simulator's units, and the rows to reset instead."""
        world = self._open_world()
        rows = np.flatnonzero(~resetting)
        rewards = np.zeros(self.num_envs, np.float64)
        terminated = np.zeros(self.num_envs, np.bool_)
        truncated = np.zeros(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        outcome: RewardOutput | None = None
        if len(rows):
            outcome = self._advance(world, native, rows)
            rewards[rows] = outcome.rewards
            terminated[rows] = outcome.terminated
            if self.max_episode_steps is not None:
                truncated[rows] = self._elapsed[rows] >= self.max_episode_steps
        self._ended = terminated | truncated
        ended = np.flatnonzero(self._ended)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP and len(ended) > 0
        if same_step:
            final = self._observe()
            for row in ended:
                info = row_info(outcome.info if outcome else {}, int(np.searchsorted(rows, row)))
                infos = self._add_info(infos, {"final_obs": final[row], "final_info": info}, int(row))
        if outcome is not None:
            keep = ~self._ended[rows] if same_step else np.ones(len(rows), np.bool_)
            merge_rows(infos, outcome.info, rows[keep], keep, self.num_envs)
        to_reset = np.flatnonzero(resetting | self._ended) if same_step else np.flatnonzero(resetting)
        if len(to_reset):
            infos = self._reset_rows(world, to_reset, ResetOptions(), infos)
        return self._observe(), rewards, terminated, truncated, infos

    def _advance(self, world: World, native: np.ndarray, rows: np.ndarray) -> RewardOutput:
        """One step of the world; of the result only ``rows`` count, the others are about to be reset.

        The whole batch is computed even so: its shape stays the same for compiled networks, and one row too many costs
        less than cutting rows out of the cache. Rows that do not count draw no noise of their own.
        """
        assert self._state is not None
        stepping = set(rows.tolist())
        generators = [
            self.rng(i).torch if i in stepping else torch.Generator().manual_seed(0) for i in range(self.num_envs)
        ]
        actions = world.actions.spec.to_tensor(native).to(world.device)
        # no_grad, not inference_mode: states taken from here must be usable by gradient planners.
        with torch.no_grad():
            state, latents = world.model.step(self._state, actions, generators, world.sampling)
            frames = None
            if self._pixels or world.reward.needs_frames:
                frames = self._decode(world, latents)
            predicted, ending = self._judge(world, state)
        elapsed = self._elapsed.copy()
        elapsed[rows] += 1
        if len(rows) == self.num_envs:
            # User code gets its own copies: it may scribble on them.
            shown = None if frames is None else frames.copy()
            seen = Transition(latents, native, elapsed.copy(), shown, self._goals, predicted, ending, generators)
        else:
            index = torch.as_tensor(rows, device=latents.device)
            goals = None if self._goals is None else self._goals[index]
            shown = None if frames is None else frames[rows]
            predicted, ending = (None if values is None else values[index] for values in (predicted, ending))
            own = [generators[row] for row in rows]
            seen = Transition(latents[index], native[rows], elapsed[rows], shown, goals, predicted, ending, own)
        outcome = world.reward.evaluate(seen)
        # Only now: an error in a reward leaves the environment where it was.
        self._state, self._elapsed = state, elapsed
        if self._pixels:
            self._frames = frames
        return outcome

    def _judge(self, world: World, state: WorldState) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Rewards and termination probabilities by the world model's head, if the reward model asks for them."""
        if not world.reward.needs_head:
            return None, None
        assert world.model.reward_head is not None and state.memory is not None
        return world.model.reward_head.predict(state.memory)

    def _decode(self, world: World, latents: torch.Tensor) -> np.ndarray:
        return to_pixels(world.model.decode(latents[:, None])[:, 0])

    def _observe(self) -> np.ndarray:
        """The current observations, a fresh array."""
        assert self._state is not None
        if self._pixels:
            assert self._frames is not None
            return self._frames.copy()
        return self._state.latent.float().cpu().numpy().copy()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The newest frame of each sub-environment, uint8 ``[h w 3]``; ``None`` without ``render_mode="rgb_array"``."""
        world = self._open_world()
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the env with render_mode='rgb_array'")
            return None
        if self._state is None:
            raise ResetNeeded("render: call reset() first")
        if self._pixels:
            assert self._frames is not None
            return tuple(self._frames.copy())
        with torch.no_grad():
            return tuple(self._decode(world, self._state.latent))

    # ---- state as a value

    def get_state(self) -> EnvState:
        """Everything that decides what happens next, as a value that later steps leave alone."""
        self._open_world()
        if self._state is None:
            raise ResetNeeded("get_state: call reset() first")
        rngs = tuple(self.rng(i).state() for i in range(self.num_envs))
        return EnvState(self._state, self._frames, self._goals, self._elapsed.copy(), self._ended.copy(), rngs)

    def set_state(self, state: EnvState) -> None:
        """Continue from ``state``, taken from this or another environment of the same world model.

        Raises:
            ValueError: The state has another number of sub-environments, another frame size or other goals.
        """
        world = self._open_world()
        if not isinstance(state, EnvState):
            raise ValueError(f"set_state: expected an EnvState from get_state(), got {type(state).__name__}")
        state.check_fits(self.num_envs, world.model.config.latent_shape, world.reward.goal_space != "none")
        moved = state.world.latent.device != world.device
        self._state = state.world.to(world.device) if moved else state.world
        self._frames = state.frames
        if self._pixels and state.frames is None:
            with torch.no_grad():
                self._frames = self._decode(world, self._state.latent)
        self._goals = None if state.goals is None else state.goals.to(world.device)
        self._elapsed, self._ended = state.elapsed_steps.copy(), state.ended.copy()
        self._rngs = [SubEnvRng.from_state(rng) for rng in state.rngs]

    def fork(
        self,
        n: int,
        index: int | None = None,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | str | None = None,
    ) -> Vid2WorldVectorEnv:
        """Branch into a new environment that shares the weights and starts at this moment.

        Args:
            n: Copies of each sub-environment; copies of one stand next to each other.
            index: Fork only this sub-environment; ``None`` forks all of them.
            seed: ``None`` copies the random streams: same actions, same frames in every copy. An int seeds copy ``i``
                with ``seed + i``.
            autoreset_mode: Mode of the new environment, by default this one's.

        Returns:
            An environment of ``n`` (or ``n * num_envs``) sub-environments.
        """
        if n < 1:
            raise ValueError(f"fork: expected at least 1 copy, got {n}")
        if index is not None and not -self.num_envs <= index < self.num_envs:
            raise ValueError(f"fork: index {index} is out of range for {self.num_envs} sub-envs")
        world, state = self._open_world(), self.get_state()
        state = (state if index is None else state.select([index % self.num_envs])).repeat(n)
        mode = self.autoreset_mode if autoreset_mode is None else autoreset_mode
        branch = Vid2WorldVectorEnv(world.config, state.num_envs, self.max_episode_steps, mode, world)
        branch.set_state(state)
        if seed is not None:
            branch._rngs = [SubEnvRng.from_seed(seed + i) for i in range(state.num_envs)]
        return branch

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of state and weights; the weights are freed once no other environment uses them."""
        self._world = self._state = self._frames = self._goals = None

    def _open_world(self) -> World:
        if self._world is None:
            raise ClosedEnvironmentError("this environment is closed; make a new one")
        return self._world
