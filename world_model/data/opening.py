"""Opening a dataset folder of any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from world_model.data import csgo, lerobot, recon, rt1
from world_model.data.action_blocks import in_blocks
from world_model.data.files import FileEpisodes
from world_model.data.minari_dataset import read_minari
from world_model.data.mirroring import mirrored
from world_model.data.recorded import EpisodeReader, RecordedDataset
from world_model.data.recordings import Recordings
from world_model.data.split import Split, file_split
from world_model.data.transforms import Letterbox

Format = Literal["auto", "minari", "rt1", "csgo", "recon", "recordings", "lerobot"]
FrameSize = tuple[int, int] | Literal["native", "published"]


class KnownFormat(NamedTuple):
    """What a folder of this format looks like in words, whether a folder does, its reader, and what the published
    model of this dataset sees."""

    looks: str
    matches: Callable[[Path], bool]
    reader: Callable[[Path], FileEpisodes] | None = None
    published: Letterbox | None = None


FORMATS = {
    "minari": KnownFormat(
        "data/metadata.json (written by `v2w collect`)",
        lambda folder: any((folder / name).exists() for name in ("data/metadata.json", "metadata.json", "episodes")),
    ),
    "lerobot": KnownFormat("meta/info.json", lambda folder: (folder / lerobot.INFO).exists()),
    "rt1": KnownFormat(rt1.PATTERN, lambda folder: _any(folder, rt1.PATTERN), rt1.RT1Episodes, rt1.PUBLISHED),
    "csgo": KnownFormat("*.hdf5", lambda folder: bool(csgo.hdf5_files(folder)), csgo.CSGOEpisodes, csgo.PUBLISHED),
    "recon": KnownFormat(
        f"*/{recon.POSES}", lambda folder: _any(folder, f"*/{recon.POSES}"), recon.ReconEpisodes, recon.PUBLISHED
    ),
    "recordings": KnownFormat(
        "NAME.mp4 and NAME.npz",
        lambda folder: any(path.with_suffix(".npz").exists() for path in folder.glob("*.mp4")),
        Recordings,
    ),
}


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset folder and how to read it.

    Attributes:
        path: the folder.
        format: "auto" looks at what is in the folder.
        frame_size: (height, width) to letterbox frames to; "native" for frames as recorded; "published" for what the
            published models of this dataset see, 320x512.
        validation_list: text file with the names of the episodes to validate on, one per line; all others train.
            Without it a `split.json` in the folder is read, or else the split is drawn.
        split_seed: of that draw.
        camera: for LeRobot datasets with several.
        action_block: recorded actions taken as one, see `in_blocks`; only every so many frames are seen then.
        mirror: what each action is in a mirror, see `mirrored`: training episodes are there twice then, the second time
            with left and right exchanged. None: only as recorded.
        damaged: what to do with files that cannot be read: "error", or "skip", named in a warning; skipping is for the
            formats with a file per episode.
    """

    path: str
    format: Format = "auto"
    frame_size: FrameSize = "native"
    validation_list: str | None = None
    split_seed: int = 0
    camera: str | None = None
    action_block: int = 1
    mirror: tuple[float, ...] | None = None
    damaged: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if self.format != "auto" and self.format not in FORMATS:
            raise ValueError(f"dataset format: expected auto or one of {list(FORMATS)}, got {self.format!r}")
        if self.damaged not in ("error", "skip"):
            raise ValueError(f"dataset damaged: expected error or skip, got {self.damaged!r}")
        if isinstance(self.frame_size, str) and self.frame_size not in ("native", "published"):
            raise ValueError(
                f"dataset frame_size: expected [height, width], native or published, got {self.frame_size!r}"
            )


def open_dataset(
    path: str | Path | DatasetConfig, format: Format = "auto", frame_size: FrameSize = "native"
) -> RecordedDataset:
    """Open a dataset; episodes are read when asked for.

    Args:
        path: its folder, or a `DatasetConfig`, which then says everything.
        format: see `DatasetConfig`.
        frame_size: see `DatasetConfig`.

    Raises:
        ValueError: if the folder is missing, empty or of no known format, or a file in it is damaged; names it.
        ImportError: if the format needs a package that is not installed; names the extra.
    """
    config = path if isinstance(path, DatasetConfig) else DatasetConfig(str(path), format, frame_size)
    folder = Path(config.path)
    name = detect_format(folder) if config.format == "auto" else config.format
    if config.damaged == "skip" and FORMATS[name].reader is None:
        raise ValueError(f"damaged=skip: expected a format with a file per episode, got {name}, where one is for many")
    if name == "minari":
        dataset = read_minari(folder, config.split_seed)
    else:
        reader = _reader(name, folder, config)
        dataset = RecordedDataset(folder, name, reader, reader.action_spec(), reader.fps(), split={})
    dataset = replace(dataset, split=_split(dataset, config), transform=_transform(dataset, config))
    if config.mirror is not None:
        dataset = mirrored(dataset, config.mirror)
    return in_blocks(dataset, config.action_block)


def detect_format(folder: Path) -> str:
    """Name of the format of a folder, by what is in it.

    Raises:
        ValueError: if it is missing, empty, of no known format or of several; says what each looks like.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected a dataset, record one with `v2w collect`")
    found = [name for name, known in FORMATS.items() if known.matches(folder)]
    # The first two describe themselves, whatever their files look like.
    if len(found) == 1 or set(found) & {"minari", "lerobot"}:
        return found[0]
    if found:
        raise ValueError(f"{folder}: looks like {' and like '.join(found)}; say which with format=")
    inside = sorted(path.name for path in folder.iterdir())
    looks = "; ".join(f"{name}: {known.looks}" for name, known in FORMATS.items())
    raise ValueError(f"{folder}: no dataset known here ({looks}); the folder has {inside[:5] or 'nothing in it'}")


def _reader(name: str, folder: Path, config: DatasetConfig) -> EpisodeReader:
    make = FORMATS[name].reader
    if make is None:
        return lerobot.LeRobotEpisodes(folder, config.camera)
    reader = make(folder)
    if config.damaged == "skip":
        reader.leave_out_damaged()
    return reader


def _split(dataset: RecordedDataset, config: DatasetConfig) -> Split:
    if dataset.format == "minari" and config.validation_list is None:
        return dataset.split
    names = {index: dataset.name(index) for index in dataset.ids()}
    return file_split(dataset.path, names, config.split_seed, config.validation_list)


def _transform(dataset: RecordedDataset, config: DatasetConfig) -> Letterbox | None:
    if config.frame_size == "native":
        return None
    if config.frame_size == "published":
        published = FORMATS[dataset.format].published
        if published is None:
            known = ", ".join(name for name, known in FORMATS.items() if known.published)
            raise ValueError(
                f"frame_size=published: expected a dataset of a published model ({known}), got {dataset.format}; give "
                "[height, width]"
            )
        return published
    height, width = config.frame_size
    return Letterbox(height, width)


def _any(folder: Path, pattern: str) -> bool:
    return next(folder.glob(pattern), None) is not None
