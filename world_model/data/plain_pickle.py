"""Reading pickles that hold nothing but numbers, text and numpy arrays, from people one does not know.

Python's pickle is a program that may call anything. Here every name it asks for is looked up in a table of stand-ins:
plain Python objects that note down shape, type and bytes of an array, which is then built from these. Neither foreign
code nor numpy's own unpickling ever runs, and every name that is not in the table is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

KINDS = "biufc"  # truth values, integers and floating point numbers


def load_plain_pickle(path: Path) -> Any:
    """What a pickle of numbers, text, lists, tuples, dictionaries and numpy arrays of numbers holds.

    Raises:
        ValueError: if it asks for anything else (names it), or is truncated or no pickle.
    """
    try:
        with path.open("rb") as file:
            return _built(_PlainUnpickler(file).load())
    except RefusedPickle as error:
        raise ValueError(f"{path}: refused, {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    except Exception as error:  # damaged pickles fail in every way there is
        raise ValueError(f"{path}: not readable as a pickle, truncated or damaged ({error!r})") from error


class RefusedPickle(pickle.UnpicklingError):
    """The pickle asks for something that is neither a number nor an array."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = STAND_INS.get((module.replace("numpy._core.", "numpy.core."), name))
        if stand_in is None:
            raise RefusedPickle(
                f"it asks for {module}.{name}; only numbers, text and numpy arrays are read, because pickles can run "
                "programs. Convert the file in a place you trust"
            )
        return stand_in

    def persistent_load(self, pid: Any) -> NoReturn:
        raise RefusedPickle("it refers to objects outside of the file")


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.code = str(code)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def build(self) -> np.dtype[Any]:
        dtype = np.dtype(self.code)
        if dtype.kind not in KINDS:
            raise RefusedPickle(f"it holds an array of {dtype}; expected numbers")
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """What `numpy.ndarray` and its constructors are replaced by."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self) -> NDArray[Any]:
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
            raise RefusedPickle("it holds an array of Python objects; expected numbers")
        return np.frombuffer(data, dtype.build()).reshape(shape, order="F" if fortran else "C").copy()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, order == "F", data)
    return array


def _scalar(dtype: Any, data: Any = b"") -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How old protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle("it encodes text other than bytes")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How old protocols write no bytes at all."""
    return b""


class _Function:
    """A function that the pickle can call but not change."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedPickle("it changes a function")


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Function(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Function(_from_buffer),
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(_no_bytes),
}


def _built(value: Any) -> Any:
    """The same with arrays in place of their stand-ins; a number on its own comes out as an array without axes."""
    if isinstance(value, _Array):
        return value.build()
    if isinstance(value, dict):
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_built(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, bytearray)):
        return value
    raise RefusedPickle(f"it holds a {type(value).__name__}; expected numbers, text and numpy arrays")
