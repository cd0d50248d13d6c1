"""Fetch the published checkpoints from the Hugging Face hub, or say how to get them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from world_model.checkpoints.sizes import PublishedLayout

OWNER = "thuml"
WEIGHTS_AND_SETTINGS = [
    "*.ckpt",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.pt",
    "*.pth",
    "*.bin",
    "*.yaml",
    "*.md",
]


@dataclass(frozen=True)
class Published:
    """A released checkpoint of Vid2World.

    Attributes:
        about: data, weight transfer, and training as the release states them.
        layout: what its tensors' shapes do not tell.
    """

    about: str
    layout: PublishedLayout = field(default_factory=PublishedLayout)


# Trained without action dropout, so there is no branch without action to be guided away from.
UNGUIDED = PublishedLayout(
    sampling=replace(PublishedLayout().sampling_config(), guidance_scale=1.0, guidance_rescale=0.0)
)

CATALOG: dict[str, Published] = {
    "RT1": Published("RT-1 robot arm, extrapolative transfer, action guidance, 100k steps"),
    "CSGO": Published("Counter-Strike, extrapolative, action guidance, 100k steps", PublishedLayout(context_frames=4)),
    "RECON": Published(
        "outdoor robot, extrapolative, action guidance, 100k steps", PublishedLayout(window=20, context_frames=4)
    ),
    "RT1-NAG": Published("RT-1, extrapolative transfer, no action guidance, 30k steps", UNGUIDED),
    "RT1-Masked-NAG": Published("RT-1, masked transfer, no action guidance, 30k steps", UNGUIDED),
    "RT1-30k": Published("RT-1, extrapolative transfer, action guidance, 30k steps"),
    "RT1-Masked": Published("RT-1, masked transfer, action guidance, 30k steps"),
    "RT1-Shift": Published("RT-1, shift transfer, action guidance, 30k steps"),
}
NAMES: dict[str, str] = {name: f"{OWNER}/Vid2World-{name}" for name in CATALOG}


def hub_id(name: str) -> str:
    """The hub's name of a published checkpoint, given as ``RT1``, ``Vid2World-RT1`` or ``thuml/Vid2World-RT1``.

    Raises:
        ValueError: unknown; lists the known ones.
    """
    short = published_name(name)
    if short is None:
        raise ValueError(f"no published checkpoint is called {name!r}; there is: {', '.join(NAMES)}")
    return NAMES[short]


def published_name(name: str | Path) -> str | None:
    """``RT1`` for ``rt1``, ``Vid2World-RT1`` or ``thuml/Vid2World-RT1``; ``None`` for anything else."""
    wanted = str(name).casefold().removeprefix(f"{OWNER}/").removeprefix("vid2world-")
    return next((short for short in NAMES if short.casefold() == wanted), None)


def download(
    name: str, *, cache_dir: str | Path | None = None, token: str | bool | None = None, offline: bool = False
) -> Path:
    """Fetch a published checkpoint into the hub's cache; what is there already is not fetched again.

    An interrupted download goes on where it stopped.

    Args:
        name: see :func:`hub_id`.
        cache_dir: in place of the hub's own (``HF_HOME``).
        token: for private copies; by default that of ``hf auth login``.
        offline: only look into the cache. The variable ``HF_HUB_OFFLINE`` does the same.

    Returns:
        the folder with the checkpoint.

    Raises:
        ValueError: an unknown name, no connection, no access, or, offline, nothing in the cache.
    """
    repository = hub_id(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    by_hand = f"or fetch it elsewhere (https://huggingface.co/{repository}) and pass the file's path"
    try:
        folder = snapshot_download(
            repository,
            cache_dir=cache_dir,
            token=token,
            local_files_only=offline,
            allow_patterns=WEIGHTS_AND_SETTINGS,
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise ValueError(
            f"{repository}: the hub has no such model, or not for you ({type(error).__name__}); for a private or gated "
            f"one run `hf auth login` or give a token, {by_hand}"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        how = "offline" if offline or isinstance(error, OfflineModeIsEnabled) else "no connection to the hub"
        raise ValueError(
            f"{repository} is not in the cache ({how}); download it once with a connection (`v2w download {name}`), "
            f"{by_hand}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"{repository}: the download failed ({type(error).__name__}: {error}); run it again, it goes on where it "
            f"stopped, {by_hand}"
        ) from error
    return Path(folder)
