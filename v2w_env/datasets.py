"""What the datasets of the published models look like from an environment: actions, picture layout, weights."""

from __future__ import annotations

from dataclasses import dataclass

from v2w_env.encodings import ActionEncoding, CSGOActions
from world_model.data import csgo, recon, rt1
from world_model.data.transforms import Letterbox
from world_model.types import ActionSpec


@dataclass(frozen=True)
class KnownDataset:
    """One of them.

    Attributes:
        actions: What the network takes.
        encoding: What callers use instead, or ``None`` for the same.
        action_fields: Names of the parts of the callers' action, with the number of entries of each.
        letterbox: How recorded frames are put into the model's frame; environments apply it to frames of other sizes.
        recorded_size: Height and width of the recordings.
    """

    actions: ActionSpec
    encoding: ActionEncoding | None
    action_fields: tuple[tuple[str, int], ...]
    letterbox: Letterbox
    recorded_size: tuple[int, int]


DATASETS: dict[str, KnownDataset] = {
    "rt1": KnownDataset(
        rt1.ACTIONS,
        None,
        tuple((field.name, field.size) for field in rt1.ACTION_FIELDS),
        rt1.PUBLISHED,
        (256, 320),
    ),
    "csgo": KnownDataset(
        csgo.ACTIONS,
        CSGOActions(),
        tuple((name, 1) for name in CSGOActions.fields),
        csgo.PUBLISHED,
        (150, 280),
    ),
    "recon": KnownDataset(
        recon.ACTIONS,
        None,
        (("forward", 1), ("sideways", 1), ("turn", 1)),
        recon.PUBLISHED,
        (480, 640),
    ),
}
