"""The real Doom: Take Cover (ViZDoom's scenario) as it is recorded, and as policies are judged in it.

`gymnasium.make("v2w_env:DoomTakeCover-v0")`. Imps at the far end of a room throw fireballs; the player can only strafe,
and lives as long as nothing kills it. It is the scenario of ViZDoom's own `VizdoomTakeCover`, with what a world model
needs around it: one 64 x 64 image as the observation, four tics per action, health in `info`, and a last frame.

The last frame: ViZDoom has no picture of the tic in which the player dies (its own environment returns a black one). A
model would learn that episodes end in darkness, and a termination head that only darkness ends them. Here the engine's
"buddha" mode keeps a dead player on its feet until the action's four tics are over, so that the last frame shows what
hit it. Death itself is read from the health, and the game is the same in every tic up to it;
`last_frame="black"` plays without that mode, with equal rewards and lengths.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

TICS_PER_ACTION = 4
STAND, RIGHT, LEFT = 0, 1, 2
_BUTTONS = {STAND: [0, 0], RIGHT: [0, 1], LEFT: [1, 0]}  # of take_cover.cfg: MOVE_LEFT, MOVE_RIGHT
_ROWS, _COLUMNS = 3, 4  # the game is drawn at 256 x 192; each of the 64 x 64 pixels is the mean of so many

Frame = NDArray[np.uint8]


class TakeCover(gym.Env[Frame, np.int64]):
    """Doom: Take Cover at 8.75 actions per second.

    Observation: uint8 [64 64 3]. Actions: `Discrete(3)`, in the order of ViZDoom's environment: stand, right, left.
    Reward: tics survived by the action, 4 except for the last one, so that returns are tics. `info`: "health" (100 at
    the start; a hit costs a multiple of 21, often more than is left) and "tics". Terminated by death; the registered id
    truncates after 525 actions, which are one minute or 2100 tics, as in Ha & Schmidhuber (2018). A seed and a list of
    actions give the same episode again.

    Args:
        render_mode: None or "rgb_array", the whole 192 x 256 picture.
        last_frame: "shown", the picture of the player's death, or "black", ViZDoom's own; see above.

    Raises:
        ImportError: without ViZDoom (extra `sim`).
        ValueError: for another `last_frame`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium declares it per instance)
        "render_modes": ["rgb_array"],
        "render_fps": 35 / TICS_PER_ACTION,
    }

    def __init__(self, render_mode: str | None = None, last_frame: Literal["shown", "black"] = "shown") -> None:
        if last_frame not in ("shown", "black"):
            raise ValueError(f"last_frame: expected 'shown' or 'black', got {last_frame!r}")
        self.render_mode = render_mode
        self.last_frame = last_frame
        self.observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(_BUTTONS))
        self._vizdoom = _import_vizdoom()
        self._game = self._start_game()
        self._screen: Frame = np.zeros((64 * _ROWS, 64 * _COLUMNS, 3), np.uint8)
        self._playing = False
        self._tics = 0  # survived in this episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        super().reset(seed=seed)
        self._game.set_seed(int(self.np_random.integers(2**31)))
        self._game.new_episode()
        if self.last_frame == "shown":
            self._game.send_game_command("buddha")
        self._playing, self._tics = True, 0
        self._look()
        return self._frame(), self._info()

    def step(self, action: np.int64) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise gym.error.ResetNeeded("step: the episode is over (or never began); call reset first")
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"step: expected 0 (stand), 1 (right) or 2 (left), got {action}")
        survived, dead = 0, False
        self._game.set_action(_BUTTONS[int(action)])
        for _ in range(TICS_PER_ACTION):
            if self._game.is_episode_finished():
                break
            self._game.advance_action(1)
            survived += not dead  # the tic of death counts, as in ViZDoom's own reward
            dead = dead or self._health() == 0
        self._playing = not dead
        self._tics += survived
        self._look()
        return self._frame(), float(survived), dead, False, self._info()

    def render(self) -> Frame | None:
        return self._screen.copy() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self._playing = False
        self._game.close()

    def _start_game(self) -> Any:
        vizdoom = self._vizdoom
        game = vizdoom.DoomGame()
        game.load_config(str(Path(vizdoom.scenarios_path) / "take_cover.cfg"))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_256X192)
        game.set_doom_config_path(os.devnull)  # otherwise the engine leaves its settings in the working directory
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.init()
        return game

    def _look(self) -> None:
        state = self._game.get_state()
        self._screen = np.zeros_like(self._screen) if state is None else np.array(state.screen_buffer)

    def _frame(self) -> Frame:
        total = np.zeros((64, 64, 3), np.uint16)
        for row in range(_ROWS):
            for column in range(_COLUMNS):
                total += self._screen[row::_ROWS, column::_COLUMNS]
        return ((total + _ROWS * _COLUMNS // 2) // (_ROWS * _COLUMNS)).astype(np.uint8)

    def _health(self) -> float:
        """0 for a dead player; in buddha mode the game keeps it at 1, which no number of hits leaves otherwise."""
        health = float(self._game.get_game_variable(self._vizdoom.GameVariable.HEALTH))
        return health if health > 1 else 0.0

    def _info(self) -> dict[str, Any]:
        return {"health": np.float32(self._health()), "tics": self._tics}


def _import_vizdoom() -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise ImportError("Doom needs the extra: pip install 'vid2world-gym[sim]' (Python < 3.13)") from error
    return vizdoom
