"""Pickles from strangers: arrays come out as they went in, and nothing else comes in."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from world_model.data import plain_pickle
from world_model.data.plain_pickle import load_plain_pickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "float": RNG.normal(size=(5, 2)),
    "half": RNG.normal(size=7).astype(np.float16),
    "big endian": np.arange(6, dtype=">i4").reshape(2, 3),
    "bool": np.array([True, False]),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4))),
    "slice": np.arange(12.0).reshape(3, 4)[:, ::2],
    "empty": np.zeros((0, 2)),
    "number": np.float64(3.5),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_kind_and_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "data.pkl"
    content = {"arrays": ARRAYS, "text": "é", "list": [1, (2.5, None, True)], "bytes": b"\x00\xff"}
    path.write_bytes(pickle.dumps(content, protocol))
    read = load_plain_pickle(path)
    assert {key: value for key, value in read.items() if key != "arrays"} == {
        key: value for key, value in content.items() if key != "arrays"
    }
    for name, array in ARRAYS.items():
        assert np.array_equal(read["arrays"][name], array) and read["arrays"][name].dtype == array.dtype, name


def test_pickles_of_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    data = pickle.dumps(np.arange(4.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    path.write_bytes(data)
    assert load_plain_pickle(path).tolist() == [0, 1, 2, 3]


class Asks:
    """Pickles to a call of whatever it is given."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Asks(eval, "1"), "asks for builtins.eval"),
        (Asks(exec, "1"), "asks for builtins.exec"),
        (Asks(getattr, "a", "b"), "asks for builtins.getattr"),
        (Asks(np.load, "file"), "asks for numpy.load"),
        (Asks(np.lib.format.open_memmap, "file"), "asks for numpy.lib"),
        (Path("a"), "asks for pathlib"),
        (OrderedDict(), "asks for collections.OrderedDict"),
        (np.array([{}, None], dtype=object), "array of (object|Python objects)"),
        (np.array(["text"]), "an array of <U4; expected numbers"),
        (np.zeros(2, [("x", "f4")]), "array of|damaged"),
        ({1, 2}, "it holds a set"),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"position": content}, 4))
    with pytest.raises(ValueError, match=rf"data\.pkl: (refused|not readable).*{message}"):
        load_plain_pickle(path)


def test_a_pickle_cannot_change_the_functions_it_may_call(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    # Names the scalar function, then asks to set its default arguments.
    path.write_bytes(b"\x80\x04cnumpy.core.multiarray\nscalar\nN}X\x0c\x00\x00\x00__defaults__)s\x86b0N.")
    before = plain_pickle._scalar.__defaults__
    with pytest.raises(ValueError, match="refused, it changes a function"):
        load_plain_pickle(path)
    assert plain_pickle._scalar.__defaults__ == before


def test_cut_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    whole = pickle.dumps(ARRAYS)
    for kept in range(0, len(whole), 97):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"data\.pkl: not readable as a pickle"):
            load_plain_pickle(path)
    path.write_text("position,yaw\n1,2\n")
    with pytest.raises(ValueError, match=r"data\.pkl: (not readable|refused)"):
        load_plain_pickle(path)
    with pytest.raises(ValueError, match=r"missing\.pkl: cannot be read"):
        load_plain_pickle(tmp_path / "missing.pkl")
