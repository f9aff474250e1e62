"""Tensors of a TensorFlow 2 checkpoint, read without TensorFlow: an index that is a table of keys, and raw numbers.

The index (`….index`) is a LevelDB table: blocks of keys with shared prefixes, and a footer that says where the block
of blocks lies. Each value is a protocol buffer, BundleEntryProto: dtype, shape, offset and size in the file of numbers
(`….data-00000-of-00001`). Only what such a file needs is read: one shard, uncompressed blocks. Nothing in it is run.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genre_pipeline.contracts.errors import ModelFileError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_BLOCK_TRAILER = 5
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
_DTYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
_DIMENSION, _LENGTH = 2, 1


def read_checkpoint(data: Path) -> dict[str, np.ndarray]:
    """Tensors by name, of the checkpoint whose numbers are in `data` (`….data-00000-of-00001`).

    Raises:
        ModelFileError: the index is missing, or either file is not of this form.
    """
    index = index_of(data)
    try:
        return _tensors(index.read_bytes(), data.read_bytes())
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise ModelFileError(
            f"The checkpoint {index.name} of {data.parent.name} cannot be read: {type(error).__name__}: {error}",
            remedy="Install the package again, in the version that is named.",
        ) from error


def index_of(data: Path) -> Path:
    """The index that belongs to a file of numbers."""
    return data.with_name(data.name.rsplit(".data-", 1)[0] + ".index")


def _tensors(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    footer = index[-_FOOTER:]
    if len(footer) != _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("the footer is not that of a table")
    position = 0
    for _handle_of_the_meta_index in range(2):
        _skipped, position = _varint(footer, position)
    tensors = {}
    for _last_key, handle in _entries(index, footer[position:]):
        for key, value in _entries(index, handle):
            if key:  # the empty key is the header
                tensors[key.decode()] = _tensor(value, data)
    return tensors


def _entries(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that a handle (offset, size) points at."""
    offset, position = _varint(handle, 0)
    size, _position = _varint(handle, position)
    block = table[offset : offset + size]
    if len(table) < offset + size + _BLOCK_TRAILER or table[offset + size] != 0:
        raise ValueError("a block is compressed or cut")
    (restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = size - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length


def _tensor(entry: bytes, data: bytes) -> np.ndarray:
    fields: dict[int, int] = {}
    shape: list[int] = []
    for field, value in _fields(entry):
        if isinstance(value, int):
            fields[field] = value
        elif field == _SHAPE:
            lengths = [
                dict(_fields(part))
                for number, part in _fields(value)
                if number == _DIMENSION and isinstance(part, bytes)
            ]
            shape = [int(length.get(_LENGTH, 0)) for length in lengths]
    start = fields.get(_OFFSET, 0)
    numbers = data[start : start + fields.get(_SIZE, 0)]
    return np.frombuffer(numbers, dtype=_DTYPES[fields[_DTYPE]]).reshape(shape)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer: varints as int, everything else as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        else:
            length = {1: 8, 5: 4}[kind]
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(buffer: bytes, position: int) -> tuple[int, int]:
    """(number, position after it): seven bits a byte, the lowest first."""
    number = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, position
