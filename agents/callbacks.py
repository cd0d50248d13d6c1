"""What happens between rollouts while an agent learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback


class OutOfTime(Exception):  # noqa: N818  (no error)
    """Ends a training between two rollouts, where it can go on later."""


class BetweenRollouts(BaseCallback):
    """Calls each task when its number of steps has passed, in order, at the next point between two rollouts.

    Which tasks are due follows from the step count alone, so a resumed run calls them where an uninterrupted one does.

    Args:
        tasks: Pairs of a period in environment steps and what to call.
        step: At which this part of the training begins.
        enough: Whether time is up.
        bar: A progress bar of environment steps.
    """

    def __init__(
        self, tasks: Sequence[tuple[int, Callable[[], None]]], step: int, enough: Callable[[], bool], bar: Any
    ) -> None:
        super().__init__()
        self._tasks, self._last, self._enough, self._bar = tasks, step, enough, bar

    def _on_rollout_start(self) -> None:
        self.run()
        if self._enough():
            raise OutOfTime

    def run(self) -> None:
        """Call what is due at the model's current step."""
        now = self.model.num_timesteps
        last, self._last = self._last, now
        for every, task in self._tasks:
            if now // every > last // every:
                task()

    def _on_step(self) -> bool:
        self._bar.update(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes:
            self._bar.set_postfix(imagined_return=f"{np.mean([one['r'] for one in episodes]):.4g}", refresh=False)
