"""Everything a user may choose when making an imagined environment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from v2w_env.resets import ResetSource
    from v2w_env.rewards import RewardFunction, RewardModel
    from world_model.model import WorldModel

Observation = Literal["pixels", "latent"]
ActionRange = Literal["native", "normalized"]
Precision = Literal["float32", "bfloat16"]
Norm = Literal["clip", "prefix", "frame"]


@dataclass(frozen=True, eq=False)
class EnvConfig:
    """Settings of an imagined environment: the keyword arguments of ``gym.make`` and ``gym.make_vec``.

    Attributes:
        checkpoint: Folder (or hub id) of a world model, a published checkpoint (a file of any of its formats, or its
            name, such as ``"RT1"``), or a loaded :class:`~world_model.model.WorldModel`.
        dataset: ``"rt1"``, ``"csgo"`` or ``"recon"`` for a model of that dataset: gives its action space, names its
            actions, and puts frames of other sizes into the model's frame as that dataset's are (letterboxed).
        num_sampling_steps: Denoising steps per frame; ``None`` takes the model's own default.
        guidance_scale: Guidance on the newest action (1 = off); ``None`` takes the model's own default.
        temporal_norm: For published checkpoints: ``"clip"`` recomputes the window for every denoising step, as the
            paper does; ``"prefix"`` and ``"frame"`` stream. ``None`` takes the model's own.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``...; ``None`` takes a GPU where there is one.
        dtype: ``"float32"`` or ``"bfloat16"``; ``None``: what the model asks for, but float32 on processors that are
            slow in bfloat16.
        compile: Compile the network with ``torch.compile`` (slow first step, faster ones after).
        observation: ``"pixels"`` gives uint8 ``[h w 3]``; ``"latent"`` gives float32 ``[c h w]`` and skips decoding.
        action_range: ``"native"`` keeps the simulator's action space; ``"normalized"`` maps a bounded Box to [-1, 1].
        reward: ``"learned"`` (the world model's own head), ``"none"``, ``"goal_image"``, a :class:`RewardModel`, or a
            callable ``(frames, actions, info) -> (reward, terminated)``. ``None``: learned where there is a head, else
            none.
        goal: uint8 ``[h w 3]`` image for ``"goal_image"``; ``reset(options={"goal": ...})`` overrides it.
        reset_source: Where episodes start. ``None``: the model's own recorded clips. Else a :class:`ResetSource`,
            the path of an ``episodes.npz``, of a dataset's folder or of an image, or uint8 images ``[n h w 3]``.
        render_mode: ``"rgb_array"`` or ``None``.
    """

    checkpoint: str | Path | WorldModel | None = None
    dataset: str | None = None
    temporal_norm: Norm | None = None
    num_sampling_steps: int | None = None
    guidance_scale: float | None = None
    device: str | None = None
    dtype: Precision | None = None
    compile: bool = False
    observation: Observation = "pixels"
    action_range: ActionRange = "native"
    reward: str | RewardModel | RewardFunction | None = None
    goal: np.ndarray | None = None
    reset_source: ResetSource | str | Path | np.ndarray | None = None
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("observation", self.observation, get_args(Observation))
        check_choice("action_range", self.action_range, get_args(ActionRange))
        check_choice("dataset", self.dataset, (None, "rt1", "csgo", "recon"))
        check_choice("temporal_norm", self.temporal_norm, (None, *get_args(Norm)))
        check_choice("dtype", self.dtype, (None, *get_args(Precision)))
        check_choice("render_mode", self.render_mode, (None, "rgb_array"))
        if self.num_sampling_steps is not None and not (
            isinstance(self.num_sampling_steps, int) and self.num_sampling_steps >= 1
        ):
            raise ValueError(f"num_sampling_steps: expected an integer >= 1, got {self.num_sampling_steps!r}")
        if self.guidance_scale is not None and not np.isfinite(self.guidance_scale):
            raise ValueError(f"guidance_scale: expected a finite number (1 = off), got {self.guidance_scale!r}")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> EnvConfig:
        """Build from the keyword arguments of ``gym.make``; an unknown name raises and names the nearest."""
        check_names("setting", settings, [field.name for field in fields(cls)])
        return cls(**settings)


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise :class:`ValueError` unless ``value`` is one of ``choices``."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_names(what: str, names: Iterable[str], known: list[str]) -> None:
    """Raise :class:`ValueError` on the first name that is not in ``known``, naming the nearest one that is."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown {what} {name!r}: {hint}known: {', '.join(known)}")
