"""Beginning episodes: where they start, taking in their first frames, and their goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from v2w_env.frames import to_model
from v2w_env.reset_options import ResetOptions
from v2w_env.resets import Start
from v2w_env.rng import SubEnvRng
from world_model.model import SamplingConfig, WorldModel
from world_model.types import WorldState

if TYPE_CHECKING:
    from v2w_env.loading import World


def begin(
    model: WorldModel,
    starts: Sequence[Start],
    generators: Sequence[torch.Generator],
    rows: np.ndarray,
    num_rows: int,
    state: WorldState | None,
    sampling: SamplingConfig | None = None,
) -> WorldState:
    """Encode ``starts``, those of one length in one batch, and put them into ``rows`` of ``state``.

    Args:
        starts: One start per row; their contexts may differ in length.
        generators: One per start, for the history noise.
        rows: ``[len(starts)]`` indices.
        num_rows: Rows of the whole state.
        state: ``None`` if all rows start now.
        sampling: As the steps that follow will be given it.
    """
    lengths = np.array([len(start.frames) for start in starts])
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length).tolist()
        clips = np.stack([starts[i].frames for i in group])
        actions = model.config.actions.to_tensor(np.stack([starts[i].actions for i in group]))
        pictures = to_model(clips, model.device)
        fresh = model.start(pictures, actions.to(model.device), [generators[i] for i in group], sampling)
        if len(group) == num_rows:
            return fresh
        # Before the first reset there is nothing to put rows into: any rows of the right number will do.
        state = fresh.select([0] * num_rows) if state is None else state
        state = state.scatter(rows[group].tolist(), fresh)
    assert state is not None
    return state


def check_resettable(world: World, options: ResetOptions, has_goals: bool) -> None:
    """Find what is missing for a reset before anything changes.

    Raises:
        ValueError: No source of starts, a goal that nobody takes, or no goal where one is needed.
    """
    if options.starts is None and world.reset_source is None:
        raise ValueError(
            "reset: this world model has no recorded clips to start from; pass options={'frames': ..., 'actions': "
            "...}, or make the environment with reset_source="
        )
    takes_goal = world.reward.goal_space != "none"
    if options.goals is not None and not takes_goal:
        raise ValueError("options['goal']: this environment's reward takes none; make it with reward='goal_image'")
    if takes_goal and options.goals is None and not has_goals and world.reward.goal is None:
        raise ValueError("reset: the reward needs a goal image; pass goal= at make or options={'goal': image}")


def draw_starts(world: World, rows: np.ndarray, options: ResetOptions, rng: Callable[[int], SubEnvRng]) -> list[Start]:
    """One start for each of ``rows``: the given ones, or drawn with the row's own generator."""
    if options.starts is not None:
        return [options.starts[row] for row in rows]
    assert world.reset_source is not None
    starts = [world.reset_source.sample(rng(int(row)).numpy) for row in rows]
    return [replace(start, frames=world.fit(start.frames, "reset source: frames", ("t h w 3",))) for start in starts]


def goals_after_reset(
    world: World, rows: np.ndarray, given: np.ndarray | None, current: torch.Tensor | None, num_envs: int
) -> torch.Tensor | None:
    """Goals ``[n ...]`` of all rows: ``given`` ones for ``rows``; without, a row keeps the goal it has, or takes the
    reward's own."""
    if world.reward.goal_space == "none" or (given is None and current is not None):
        return current
    images = world.reward.goal if given is None else given
    assert images is not None
    images = np.array(np.broadcast_to(images, (num_envs, *images.shape[-3:])))
    goals = torch.from_numpy(images).to(world.device)
    if world.reward.goal_space == "latent":
        goals = world.model.encode(to_model(images[:, None], world.device))[:, 0]
    if current is None:
        return goals
    index = torch.as_tensor(rows, device=world.device)
    return current.index_copy(0, index, goals[index])
