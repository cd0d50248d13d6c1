"""Infos in Gymnasium's vector form, and what one sub-environment reported."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from v2w_env.infos import sub_env_info


class Teller(gym.Env):
    """Says something at every step, and more at the end, which comes after ``length`` steps."""

    action_space = observation_space = gym.spaces.Discrete(9)

    def __init__(self, length: int) -> None:
        self.length, self.count = length, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.count = 0
        return 0, {"begun": True}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.count += 1
        over = self.count == self.length
        info = {"count": self.count, "place": np.full(2, action), "inner": {"name": "dot", "half": self.count / 2}}
        return self.count, 0.0, over, False, info | ({"won": True} if over else {})


def test_each_gets_what_it_reported_itself() -> None:
    envs = SyncVectorEnv([lambda: Teller(1), lambda: Teller(5)])
    envs.reset()
    infos = envs.step([3, 4])[4]
    for row, expected in ((0, {"won": True}), (1, {})):
        info = sub_env_info(infos, row)
        assert info.pop("place").tolist() == [3 + row] * 2
        assert info == {"count": 1, "inner": {"name": "dot", "half": 0.5}} | expected
        assert type(info["count"]) is int and type(info["inner"]["half"]) is float


def test_the_last_info_of_an_episode_is_inside_that_of_the_reset() -> None:
    envs = SyncVectorEnv([lambda: Teller(1), lambda: Teller(5)], autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset()
    infos = envs.step([3, 4])[4]
    ended, going = sub_env_info(infos, 0), sub_env_info(infos, 1)
    assert ended["begun"] is True and ended["final_obs"] == 1
    assert ended["final_info"]["won"] is True and ended["final_info"]["inner"]["name"] == "dot"
    assert "final_info" not in going and going["count"] == 1


@pytest.mark.parametrize("row", [0, 1])
def test_what_nobody_reported_is_nobodys(row: int) -> None:
    assert sub_env_info({"a": np.ones(2), "_a": np.array([True, False]), "b": np.ones(2)}, row) == ({"a": 1.0}, {})[row]
