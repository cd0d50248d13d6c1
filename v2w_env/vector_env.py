"""The batched imagined environment: the one stateful loop around a world model whose state is a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from v2w_env.infos import merge_rows, row_info
from v2w_env.loading import World
from v2w_env.reset_options import ResetOptions, parse_options, rows_to_reset, seeds_per_env
from v2w_env.rewards import RewardOutput, Transition
from v2w_env.rng import SubEnvRng
from v2w_env.starting import begin, check_resettable, draw_starts, goals_after_reset
from v2w_env.stateful_env import StatefulVectorEnv
from world_model.types import WorldState

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Vid2WorldVectorEnv(StatefulVectorEnv):
    """``num_envs`` imagined environments stepped as one batch.

    Observations are uint8 ``[n h w 3]`` (or float32 latents ``[n c h w]``), actions ``[n *shape]``. Episodes end when
    the reward model says so (terminated) or after ``max_episode_steps`` (truncated); what happens then follows
    ``gymnasium.vector.SyncVectorEnv`` in each :class:`~gymnasium.vector.AutoresetMode`. Sub-environment ``i`` draws
    all its randomness from its own generators, so its trajectory does not depend on the batch it runs in. Here it is
    reset and stepped; how it is made, shown, saved and branched is in :mod:`v2w_env.stateful_env`.

    Args:
        config: What to load and how to run it.
        num_envs: Number of sub-environments.
        max_episode_steps: Steps after which an episode is truncated; ``None`` or -1 for never.
        autoreset_mode: An :class:`AutoresetMode` or its value, for example ``"SameStep"``.
        world: Parts already loaded from ``config``, shared instead of loaded again (what :meth:`fork` does).
    """

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
            self._contexts[row] = start.frames[:-1]
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
