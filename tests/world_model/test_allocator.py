"""The allocator's settings are taken where there is glibc, and nothing happens elsewhere."""

import platform

import pytest
import torch

from world_model import allocator


def test_what_was_accepted_is_said_and_memory_still_works() -> None:
    accepted = allocator.keep_freed_memory()
    glibc = platform.libc_ver()[0] == "glibc"
    assert set(accepted) == ({"M_MMAP_THRESHOLD", "M_TRIM_THRESHOLD", "M_TOP_PAD"} if glibc else set())
    assert all(value >= 32 * 2**20 for value in accepted.values())
    assert float(torch.ones(3_000_000).sum()) == 3_000_000


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert allocator.keep_freed_memory() == {}


def test_a_c_library_without_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.0"))
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_freed_memory() == {}


def test_values_that_are_refused_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        @staticmethod
        def mallopt(number: int, value: int) -> int:
            return int(number != -3 or value <= 32 * 2**20)

    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.17"))
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Old())
    assert allocator.keep_freed_memory()["M_MMAP_THRESHOLD"] == 32 * 2**20
