"""``v2w convert``: checkpoints of other formats as a world model's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from v2w_env.datasets import DATASETS
from world_model.checkpoints.convert import convert
from world_model.checkpoints.download import CATALOG, download, published_name
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.transfer import TransferMethod

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class ConvertConfig:
    """Settings of the command; see ``configs/convert.yaml``."""

    source: str | None
    folder: str | None
    dtype: str = "bfloat16"
    dataset: str | None = None
    transfer: TransferMethod = "extrapolative"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.source is None or self.folder is None:
            raise ValueError("which checkpoint, and where to? v2w convert SOURCE folder=OUT")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.dataset is not None and self.dataset not in DATASETS:
            raise ValueError(f"dataset: expected one of {', '.join(DATASETS)} or null, got {self.dataset!r}")


def run(config: ConvertConfig) -> str:
    """Convert, compare what was written with the source, and say what became of every part."""
    assert config.source is not None and config.folder is not None
    published = None if Path(config.source).expanduser().exists() else published_name(config.source)
    source = download(published) if published else Path(config.source)
    known = DATASETS[config.dataset] if config.dataset else None
    catalogued = published or (config.dataset or "").upper()
    options = PublishedOptions(
        actions=known.actions if known else None,
        transfer=config.transfer,
        layout=CATALOG[catalogued].layout if catalogued in CATALOG else None,
        name=config.name or (f"Vid2World-{published}" if published else ""),
    )
    done = convert(source, config.folder, options, dtype=getattr(torch, config.dtype))
    return f"{done.summary}\n\nworld model: {done.folder} ({done.bytes / 1e6:.1f} MB, compared with its source)"
