"""``v2w info``: what a world model or an environment contains, in a few lines."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym

from v2w_env import Vid2WorldEnv
from v2w_env.collect.simulator import make_simulator
from v2w_env.registration import BUNDLES
from world_model import bundle
from world_model.model import WorldModel


def run(target: str, device: str = "cpu") -> str:
    """Describe ``target``: an environment id, a shipped model's name, a folder with a world model, or a Hub id.

    Raises:
        ValueError: no such environment or model, or a folder that does not hold a whole one.
    """
    if target in gym.registry or re.search(r"-v\d+$", target):
        return describe_env(target)
    shipped = BUNDLES / target
    folder = bundle.locate(shipped if shipped.is_dir() else target)
    return describe_model(WorldModel.from_pretrained(folder, device=device), folder)


def describe_env(env_id: str) -> str:
    """Spaces and settings of an environment and, where it is imagined, its world model."""
    env = make_simulator(env_id, {})
    try:
        spec = env.spec
        assert spec is not None, "gymnasium.make sets it"
        text = _table(
            [
                ("environment", env_id),
                ("observations", str(env.observation_space)),
                ("actions", str(env.action_space)),
                ("frames per second", str(env.metadata.get("render_fps", "not said"))),
                ("steps per episode", str(spec.max_episode_steps or "no limit")),
            ]
        )
        checkpoint = spec.kwargs.get("checkpoint") if isinstance(env.unwrapped, Vid2WorldEnv) else None
    finally:
        env.close()
    if checkpoint is None:
        return text
    return f"{text}\n\n{describe_model(WorldModel.from_pretrained(checkpoint), bundle.locate(checkpoint))}"


def describe_model(model: WorldModel, folder: Path) -> str:
    """Sizes, actions and defaults of a world model read from ``folder``, and the card beside its weights."""
    config = model.config
    height, width = config.frame_size
    actions = config.actions
    bounds = f", {min(actions.low):g} to {max(actions.high):g}" if actions.low else ""
    counts = f", {' x '.join(map(str, actions.nvec))} choices" if actions.nvec else ""
    parts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    sizes = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in parts.items() if count)
    sampling, steps = config.sampling, config.frame_skip * config.action_block
    scales = f"guidance {sampling.guidance_scale:g}, temperature {sampling.temperature:g}"
    lines = [
        ("world model", config.name),
        ("imitates", config.source_env or "not said"),
        ("frames", f"{height} x {width}, {config.fps:g} per second, {steps} simulator step(s) each"),
        ("actions", f"{actions.kind}, {actions.size} value(s){bounds}{counts}"),
        ("parameters", f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M ({sizes})"),
        ("memory", f"{config.context_frames} context frames at reset, window of {config.window} frames"),
        ("sampling", f"{sampling.num_sampling_steps} step(s), {scales}"),
    ]
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    lines.append(("on disk", f"{size / 1e6:.1f} MB"))
    if config.reward_head is not None:
        lines.append(("reward", "learned, with endings"))
    clips = bundle.load_episodes(folder, actions)
    if clips is not None:
        lines.append(("reset clips", f"{len(clips['frames'])} of {clips['frames'].shape[1]} frames"))
    card = folder / bundle.CARD
    return _table(lines) + (f"\n\n{card.read_text().strip()}" if card.is_file() else "")


def _table(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<18} {value}" for name, value in lines if value)
