"""The files with published networks that some measures need: which, where from, and how they are read."""

from __future__ import annotations

import importlib.util
import os
import pickle
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

ENVIRONMENT = "V2W_METRIC_WEIGHTS"
DEFAULT_FOLDER = "runs/metric_weights"


@dataclass(frozen=True)
class WeightFile:
    """A file in the folder of weights; `package` is an installable alternative to it."""

    name: str
    what: str
    source: str
    package: str | None = None


FILES: dict[str, WeightFile] = {
    "lpips_vgg": WeightFile(
        "vgg16-397923af.pth", "LPIPS, VGG-16", "https://download.pytorch.org/models/vgg16-397923af.pth"
    ),
    "lpips_alex": WeightFile(
        "alexnet-owt-7be5be79.pth", "LPIPS, AlexNet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    ),
    "fid": WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        "FID, Inception-v3",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
    "fvd": WeightFile(
        "i3d_torchscript.pt", "FVD, I3D", "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1"
    ),
    "dreamsim": WeightFile(
        "dreamsim.pt",
        "DreamSim, a TorchScript module from images [b 3 224 224] in [0, 1] to embeddings",
        "pip install dreamsim, which fetches its own weights; or such a module that you exported from it",
        package="dreamsim",
    ),
}


def weights_folder(setting: str | None = None) -> Path:
    """The folder of weights: a setting, or else $V2W_METRIC_WEIGHTS, or else runs/metric_weights."""
    return Path(setting or os.environ.get(ENVIRONMENT) or DEFAULT_FOLDER)


def check_files(keys: Iterable[str], folder: Path) -> None:
    """Look for the files of some measures, all at once, before anything long begins.

    Raises:
        FileNotFoundError: naming every file that is missing and where it comes from.
    """
    missing = [
        FILES[key] for key in keys if not (folder / FILES[key].name).is_file() and not _installed(FILES[key].package)
    ]
    if missing:
        listed = "; ".join(f"{file.name} ({file.what}) from {file.source}" for file in missing)
        raise FileNotFoundError(
            f"{folder}: weights of {len(missing)} measures are missing: {listed}. Put them there, name another folder "
            f"with metric_weights= or ${ENVIRONMENT}, or leave the measures out: metrics=[psnr, ssim, mse]"
        )


def read_weights(path: Path, expected: Mapping[str, Tensor], ignored: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a PyTorch file that a network asks for.

    Args:
        path: of a file that holds a state dictionary.
        expected: the network's own, for names and shapes.
        ignored: beginnings of names that the file may have besides.

    Raises:
        ValueError: the file is truncated or foreign, or holds other tensors than expected.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, BadZipFile, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: not readable as PyTorch weights, truncated or foreign; fetch it again") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a dictionary of tensors, got a {type(state).__name__}; fetch it again")
    wanted = {name: tensor for name, tensor in state.items() if name in expected}
    missing = sorted(name for name in expected if name not in wanted and not name.endswith("num_batches_tracked"))
    unknown = sorted(name for name in state if name not in expected and not name.startswith(ignored or ("\0",)))
    wrong = [name for name, tensor in wanted.items() if tensor.shape != expected[name].shape]
    if missing or unknown or wrong:
        raise ValueError(
            f"{path}: other weights than expected: {len(missing)} missing {missing[:2]}, {len(unknown)} unknown "
            f"{unknown[:2]}, {len(wrong)} of another shape {wrong[:2]}; fetch it again"
        )
    return wanted


def read_script(path: Path, device: torch.device | str) -> nn.Module:
    """A TorchScript module, in evaluation mode.

    Raises:
        ValueError: the file is truncated or no TorchScript.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, in which I3D is published
            module: Any = torch.jit.load(str(path), map_location=device)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: not readable as TorchScript, truncated or foreign; fetch it again") from error
    return module.eval()


def _installed(package: str | None) -> bool:
    return package is not None and importlib.util.find_spec(package) is not None
