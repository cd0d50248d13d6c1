"""Arrays in `.npz` files: their shapes without unpacking them, and some of their rows."""

from __future__ import annotations

import struct
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK = 1 << 20


class ArrayHeader(NamedTuple):
    """What an array is, told by its first bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """Shape and dtype of every array in a file.

    Raises:
        ValueError: if it is not a whole `.npz`; names it.
    """
    with _opened(path) as archive:
        headers = {}
        for name in archive.namelist():
            with archive.open(name) as file:
                headers[name.removesuffix(".npy")] = _header(file, path)
        return headers


def npz_rows(path: Path, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Rows `start` to `stop - 1` of an array; nothing after them is unpacked.

    Raises:
        ValueError: if the file is damaged, or has no such array or rows, or the array holds Python objects.
    """
    with _opened(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            found = [entry.removesuffix(".npy") for entry in archive.namelist()]
            raise ValueError(f"{path}: expected an array {name!r}, got {found}")
        with archive.open(f"{name}.npy") as file:
            header = _header(file, path)
            if header.dtype.hasobject:
                raise ValueError(f"{path}, {name}: expected numbers, got Python objects, which are never unpickled")
            if not header.shape:
                raise ValueError(f"{path}, {name}: expected rows, got a single value")
            stop = header.shape[0] if stop is None else stop
            if not 0 <= start <= stop <= header.shape[0]:
                raise ValueError(f"{path}, {name}: has {header.shape[0]} rows, asked for {start} to {stop}")
            if header.fortran:
                start, stop, keep = 0, header.shape[0], slice(start, stop)
            else:
                keep = slice(None)
            row = int(np.prod(header.shape[1:], dtype=np.int64)) * header.dtype.itemsize
            file.seek(start * row, 1)
            data = np.frombuffer(_take(file, (stop - start) * row, path), header.dtype)
        shape = (stop - start, *header.shape[1:])
        return data.reshape(shape, order="F" if header.fortran else "C")[keep].copy()


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not readable as .npz, truncated or damaged ({error})") from error
    except (zlib.error, struct.error, SyntaxError) as error:
        raise ValueError(f"{path}: an array in it is damaged ({error})") from error


def _header(file: IO[bytes], path: Path) -> ArrayHeader:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise ValueError(f"{path}: holds something other than arrays ({error})") from error
    return ArrayHeader(shape, dtype, fortran)


def _take(file: IO[bytes], count: int, path: Path) -> bytearray:
    taken = bytearray()
    while len(taken) < count:
        block = file.read(min(BLOCK, count - len(taken)))
        if not block:
            raise ValueError(f"{path}: ends in the middle of an array, it is truncated")
        taken += block
    return taken
