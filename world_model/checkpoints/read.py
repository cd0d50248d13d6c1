"""Open a file of weights, whatever wrote it, as named tensors that stay on disk until they are looked at."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

Format = Literal["lightning", "deepspeed", "state_dict", "safetensors", "bundle"]
EXPECTED = (
    "expected a PyTorch-Lightning .ckpt, a DeepSpeed checkpoint, a saved state dict, a .safetensors file (or the index "
    "of a sharded one) or a world model's folder"
)
WRAPPERS = re.compile(r"^(?:_forward_module\.|module\.|_orig_mod\.)+")  # DeepSpeed, data parallelism, torch.compile
DEEPSPEED_STATES = "mp_rank_00_model_states.pt"
PORTION_BYTES = 512 << 20
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


class MappedTensors(Mapping[str, Tensor]):
    """Tensors by name in a file that is mapped into memory: a tensor costs memory only from when it is read.

    What has been read counts as this process' memory for as long as the mapping lives. :meth:`release` gives it back
    once none of the tensors is referred to any more; the next look-up maps the file again.
    """

    def __init__(self, open_file: Callable[[], Mapping[str, Tensor]]) -> None:
        self._open_file = open_file
        self._tensors: Mapping[str, Tensor] | None = open_file()
        self._names = tuple(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        if self._tensors is None:
            self._tensors = self._open_file()
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def release(self) -> None:
        self._tensors = None


def portions(tensors: Mapping[str, Tensor], limit: int = PORTION_BYTES) -> list[list[str]]:
    """The names in their order, cut where ``limit`` bytes are exceeded: what to read between two releases."""
    cut: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        count = tensor.numel() * tensor.element_size()
        if cut[-1] and size + count > limit:
            cut.append([])
            size = 0
        cut[-1].append(name)
        size += count
    return cut


def read(path: str | Path) -> tuple[Format, MappedTensors, Path]:
    """Open ``path``: a file, or a folder with one checkpoint in it.

    Returns:
        what wrote it, its tensors without the prefixes of wrappers around the model, and the file or bundle itself.

    Raises:
        ValueError: saying what the file looks like, what was expected, and what to do.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if (path / "config.yaml").is_file() and (path / "model.safetensors").is_file():
            return "bundle", _open(path / "model.safetensors", _read_bundle), path
        path = _only_checkpoint(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}: there is no such file or folder; check the path")
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors", _open(path, _read_safetensors), path
    if path.name.endswith(".index.json"):
        return "safetensors", _open(path, _read_shards), path
    if head[:2] == b"PK" or re.match(rb"\x80[\x02-\x05]", head):
        form = _torch_file(path)[0]
        return form, _open(path, lambda file: _torch_file(file)[1]), path
    raise ValueError(f"{path}: {_looks(head)}; {EXPECTED}")


def _open(path: Path, read_tensors: Callable[[Path], Mapping[str, Tensor]]) -> MappedTensors:
    tensors = MappedTensors(lambda: _unwrapped(read_tensors(path), path))
    if not tensors:
        raise ValueError(f"{path}: it holds no tensors; {EXPECTED}")
    return tensors


def _unwrapped(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    plain = {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    if len(plain) != len(tensors):
        raise ValueError(f"{path}: it holds the same tensors with and without a wrapper's prefix; save one model only")
    return plain


# -- safetensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        looks = "a zip archive, perhaps a PyTorch checkpoint," if zipped else "truncated or damaged"
        raise ValueError(f"{path}: a safetensors file that is {looks} ({error}); copy or download it again") from error


def _read_bundle(path: Path) -> dict[str, Tensor]:
    """Of a world model's folder: its weights, and those of its action prior where these lie beside them."""
    beside = path.with_name("action_prior.safetensors")
    return _read_safetensors(path) | (_read_safetensors(beside) if beside.is_file() else {})


def _read_shards(path: Path) -> dict[str, Tensor]:
    try:
        shard_of = json.loads(path.read_text())["weight_map"]
        shards = sorted({str(shard) for shard in shard_of.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected the index of a sharded safetensors file, a JSON with weight_map") from error
    if foreign := [shard for shard in shards if Path(shard).name != shard]:
        raise ValueError(f"{path}: shards lie beside their index, but it names {foreign[0]!r}; the index is foreign")
    if absent := [shard for shard in shards if not (path.parent / shard).is_file()]:
        raise ValueError(f"{path}: {len(absent)} of {len(shards)} shards missing, first {absent[0]}; download them too")
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= _read_safetensors(path.parent / shard)
    if lost := sorted(shard_of.keys() - tensors.keys()):
        raise ValueError(f"{path}: {len(lost)} tensors of the index are in no shard, first {lost[0]}; download again")
    return tensors


# -- torch.save


def _torch_file(path: Path) -> tuple[Format, Mapping[str, Tensor]]:
    """What ``torch.save`` wrote; only tensors and plain containers are ever unpickled."""
    is_zip = _is_checkpoint_zip(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {_refusal(str(error))}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: a PyTorch file that is truncated or damaged ({_line(error)}); copy it again"
        ) from error
    return _state_dict(content, path)


def _is_checkpoint_zip(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return False  # an older file, or a plain pickle
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path}: it begins like a PyTorch checkpoint but has no end: truncated ({error}); copy it again"
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(f"{path}: a TorchScript program, not a checkpoint; {EXPECTED}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise ValueError(f"{path}: a zip archive, but no PyTorch checkpoint (it holds {names[:3]}); {EXPECTED}")
    return True


def _state_dict(content: Any, path: Path) -> tuple[Format, Mapping[str, Tensor]]:
    if isinstance(content, Mapping):
        places: tuple[tuple[Format, str], ...] = (("lightning", "state_dict"), ("deepspeed", "module"))
        for form, key in places:
            if isinstance(content.get(key), Mapping):
                return form, _only_tensors(content[key], path)
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return "state_dict", _only_tensors(content, path)
        keys = ", ".join(map(repr, list(content)[:6]))
        raise ValueError(f"{path}: a saved dictionary with keys {keys}, none of which holds a model; {EXPECTED}")
    raise ValueError(f"{path}: a saved {type(content).__name__}, not a model's tensors by name; {EXPECTED}")


def _only_tensors(tensors: Mapping[Any, Any], path: Path) -> Mapping[str, Tensor]:
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: its state dict holds {name!r}, a {type(value).__name__}; expected tensors by name"
            )
    return tensors


def _refusal(message: str) -> str:
    """Why a pickle was not unpickled."""
    if found := re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)|`([\w.]+)` (?:by default|was not)", message):
        foreign = next(group for group in found.groups() if group)
        return (
            f"it holds objects besides tensors ({foreign}), and unpickling these could run any program, so it was "
            "refused; where you trust the file, load it and save only its `state_dict` as safetensors"
        )
    return f"a pickle that is damaged or holds objects besides tensors ({message.splitlines()[0]}); {EXPECTED}"


# -- what a thing looks like


def _looks(head: bytes) -> str:
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file; run `git lfs pull` or download it"
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        return "a web page saved in place of the file; log in or use the download link"
    if head.lstrip()[:1] in (b"{", b"["):
        return "a JSON text"
    if head[:2] == b"\x1f\x8b":
        return "a gzip archive; unpack it"
    return f"its first bytes, {head[:8]!r}, are of no known kind"


def _only_checkpoint(folder: Path) -> Path:
    """The one checkpoint in a folder, such as a download or what Lightning's DeepSpeed strategy writes."""
    inside = sorted(p for p in (*folder.glob("*"), *folder.glob("*/*")) if p.is_file() and not p.name.startswith("."))
    if states := [p for p in inside if p.name == DEEPSPEED_STATES]:
        inside = states
    elif index := [p for p in inside if p.name.endswith(".safetensors.index.json")]:
        inside = index
    found = [p for p in inside if p.suffix in SUFFIXES or p.name.endswith(".index.json")]
    if len(found) == 1:
        return found[0]
    names = [str(p.relative_to(folder)) for p in (found or inside)[:4]]
    if found:
        raise ValueError(f"{folder}: {len(found)} checkpoints in one folder, such as {names}; name the file")
    raise ValueError(f"{folder}: {f'no checkpoint among {names}' if names else 'an empty folder'}; {EXPECTED}")


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
