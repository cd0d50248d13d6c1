"""The checksum of TFRecord files (CRC-32C, Castagnoli), fast enough for terabytes without a compiled package.

A checksum runs over bytes one after the other. Here a long text is cut into lanes of equal length whose checksums are
computed side by side, and joined pairwise: the checksum of a text followed by n zero bytes is a linear map of the
checksum of the text, and the checksum of two texts in a row is that map of the first plus the second.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # bit-reversed
LANES = 4096
Words = NDArray[np.uint32]


def crc32c(data: bytes) -> int:
    """CRC-32C of some bytes, as an unsigned 32-bit number."""
    table = _byte_table()
    length = len(data) // LANES
    state = 0xFFFFFFFF
    if length:
        lanes = np.frombuffer(data, np.uint8, LANES * length).reshape(LANES, length)
        # Each lane starts at 0, except for the first, which starts the whole.
        states = np.zeros(LANES, np.uint32)
        states[0] = state
        for column in np.ascontiguousarray(lanes.T):
            states = table[(states ^ column) & 0xFF] ^ (states >> 8)
        zeros = length
        while len(states) > 1:
            states = _apply(_zeros_table(zeros), states[0::2]) ^ states[1::2]
            zeros *= 2
        state = int(states[0])
    for byte in data[LANES * length :]:
        state = int(table[(state ^ byte) & 0xFF]) ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@cache
def _byte_table() -> Words:
    """What each value of the lowest byte turns into after eight bits."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table


@cache
def _zeros_table(count: int) -> Words:
    """The map of checksums that `count` zero bytes make, as a table `[4 256]` of each byte of the argument."""
    if count == 1:
        values = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32)[:, None])
        return (_byte_table()[values & 0xFF] ^ (values >> 8)).astype(np.uint32)
    half = _zeros_table(count // 2)
    twice = _apply(half, half)
    return _apply(_zeros_table(1), twice) if count % 2 else twice


def _apply(table: Words, values: Words) -> Words:
    """A map, given as its table, of some checksums."""
    parts = [table[place][(values >> np.uint32(8 * place)) & np.uint32(0xFF)] for place in range(4)]
    return parts[0] ^ parts[1] ^ parts[2] ^ parts[3]
