"""TFRecord files and the `tf.train.Example` messages in them, read without TensorFlow.

A record is: length (8 bytes, little endian), checksum of these, content, checksum of the content. An Example is a
protocol buffer: a map of names to lists of bytes, of floats or of integers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from world_model.data.crc32c import crc32c

MASK_DELTA = 0xA282EAD8  # checksums are stored rotated by 15 bits plus this
Feature = list[bytes] | np.ndarray


def read_records(path: Path, skip: int = 0) -> Iterator[bytes]:
    """Contents of the records of a file, the first `skip` of which are passed over without reading them.

    Raises:
        ValueError: if the file is truncated, damaged or no TFRecord; names it and the record.
    """
    with path.open("rb") as file:
        number = 0
        while header := file.read(12):
            if len(header) < 12:
                raise ValueError(f"{path}, record {number}: the file is truncated")
            if _masked(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
                raise ValueError(f"{path}, record {number}: no TFRecord, or damaged (its length has a wrong checksum)")
            (length,) = struct.unpack("<Q", header[:8])
            if number < skip:
                file.seek(length + 4, 1)
            else:
                content, footer = file.read(length), file.read(4)
                if len(content) < length or len(footer) < 4:
                    raise ValueError(f"{path}, record {number}: the file is truncated")
                if _masked(crc32c(content)) != struct.unpack("<I", footer)[0]:
                    raise ValueError(f"{path}, record {number}: damaged (its checksum is wrong)")
                yield content
            number += 1


def count_records(path: Path) -> int:
    """Records in a file, told by their lengths.

    Raises:
        ValueError: if the file is truncated, damaged or no TFRecord; names it.
    """
    size, position, number = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(12)
            if len(header) < 12 or _masked(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
                raise ValueError(f"{path}, record {number}: no TFRecord, truncated or damaged")
            position += 16 + struct.unpack("<Q", header[:8])[0]
            number += 1
    if position != size:
        raise ValueError(f"{path}, record {number - 1}: the file is truncated")
    return number


def parse_example(content: bytes) -> dict[str, Feature]:
    """Features of a serialised `tf.train.Example` by name: lists of bytes, float32 or int64 arrays.

    Raises:
        ValueError: if the content is something else.
    """
    features: dict[str, Feature] = {}
    try:
        for _, message in _fields(content, {1}):  # Example.features
            for _, entry in _fields(message, {1}):  # Features.feature, a map
                parts = dict(_fields(entry, {1, 2}))
                features[parts[1].decode()] = _feature(parts.get(2, b""))
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"no tf.train.Example ({error!r})") from error
    return features


def _feature(message: bytes) -> Feature:
    for kind, values in _fields(message, {1, 2, 3}):
        if kind == 1:
            return [value for _, value in _fields(values, {1})]
        packed = b"".join(value for _, value in _fields(values, {1}))
        if kind == 2:
            return np.frombuffer(packed, "<f4")
        return _integers(packed)
    return np.zeros(0, np.float32)


def _fields(message: bytes, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the wanted fields of a message; single numbers as they are in the file."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        start = position
        if wire == 0:
            _, position = _varint(message, position)
        elif wire == 1:
            position += 8
        elif wire == 2:
            length, start = _varint(message, position)
            position = start + length
        elif wire == 5:
            position += 4
        else:
            raise ValueError(f"no tf.train.Example (a field of unknown kind {wire})")
        if position > len(message):
            raise ValueError("no tf.train.Example (a field reaches beyond the end)")
        if number in wanted:
            yield number, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """An integer of seven bits per byte, and the place after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("no tf.train.Example (an integer of more than 64 bits)")


def _integers(packed: bytes) -> np.ndarray:
    values, position = [], 0
    while position < len(packed):
        value, position = _varint(packed, position)
        values.append(value & 0xFFFFFFFFFFFFFFFF)
    return np.array(values, np.uint64).astype(np.int64)


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF
