"""What is trained onto a finished world model (a reward head, a state probe, an action prior): reading the world model,
and saving it with them."""

from __future__ import annotations

from pathlib import Path

from world_model import bundle
from world_model.data import RecordedDataset
from world_model.model import WorldModel
from world_model.precision import inference_dtype


def read_world(folder: Path, recorded: RecordedDataset, imagined_share: float) -> WorldModel:
    """The trained world model, in the type it is run in.

    Raises:
        ValueError: if it does not fit the recording, or cannot imagine it (`imagined_share` above 0).
    """
    world = WorldModel.from_pretrained(folder, dtype=inference_dtype(bundle.load_config(folder).dtype))
    if world.config.actions != recorded.action_spec or world.config.frame_size != tuple(recorded.frame_size):
        raise ValueError(
            f"dataset: expected what {folder} was trained on, frames of {world.config.frame_size} and actions "
            f"{world.config.actions}, got {tuple(recorded.frame_size)} and {recorded.action_spec}"
        )
    if world.conditioner is not None and imagined_share:
        raise ValueError(
            f"imagined_share: expected 0 for a world model that is conditioned on an image, got {imagined_share}"
        )
    return world


def save_world(world: WorldModel, source: Path, folder: Path, section: str) -> Path:
    """Save what was trained onto the world model of the bundle `source` with that model, exactly as it is there, with
    its clips, and with its card with a section added or replaced."""
    whole = WorldModel.from_pretrained(source)  # `world` may have been rounded to the type it is run in
    whole.config, whole.reward_head, whole.state_probe = world.config, world.reward_head, world.state_probe
    whole.action_prior = world.action_prior
    text = (source / bundle.CARD).read_text() if (source / bundle.CARD).is_file() else f"# {world.config.name}\n"
    clips = bundle.load_episodes(source, world.config.actions)
    return whole.to("cpu").save_pretrained(folder / "bundle", clips, with_section(text, section))


def with_section(card: str, section: str) -> str:
    """A card whose section of the same title, if it has one, is replaced; other sections stay."""
    title = section.partition("\n")[0]
    first, *others = card.split("\n## ")
    kept = [first, *(f"## {other}" for other in others if f"## {other}".partition("\n")[0] != title)]
    return "\n\n".join(part.strip() for part in (*kept, section)) + "\n"
