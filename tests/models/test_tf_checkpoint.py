import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.tf_checkpoint import read_checkpoint

TENSORS = {
    "conv/bias": np.array([1.5, -2.0], dtype=np.float32),
    "conv/kernel": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    "step": np.array(7, dtype=np.int64),
}
NUMBERS = {np.dtype(np.float32): 1, np.dtype(np.int64): 9}


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Keys share prefixes with the key before; one restart point; an uncompressed trailer."""
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def checkpoint(folder: Path, tensors: dict[str, np.ndarray] = TENSORS) -> Path:
    """Written by the format's description, apart from the reader."""
    data, entries = b"", [(b"", field(1, 1))]
    for name, tensor in sorted(tensors.items()):
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        entry = field(1, NUMBERS[tensor.dtype]) + field(2, shape) + (field(4, len(data)) if data else b"")
        entries.append((name.encode(), entry + field(5, tensor.nbytes) + varint(6 << 3 | 5) + b"\1\2\3\4"))
        data += tensor.tobytes()
    trailer = b"\0\0\0\0\0"
    first = block(entries)
    index_block = block([(b"zz", varint(0) + varint(len(first)))])
    start = len(first) + len(trailer)
    handles = varint(0) + varint(0) + varint(start) + varint(len(index_block))
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / "model.index").write_bytes(first + trailer + index_block + trailer + footer)
    path = folder / "model.data-00000-of-00001"
    path.write_bytes(data)
    return path


def test_tensors_come_back_by_name(tmp_path: Path) -> None:
    found = read_checkpoint(checkpoint(tmp_path))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    (tmp_path / "model.index").unlink()
    with pytest.raises(ModelFileError, match=r"model\.index"):
        read_checkpoint(path)


def test_numbers_that_are_cut_are_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_checkpoint(path)


@given(st.integers(0, 400), st.integers(1, 255), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_damaged_index_is_read_or_refused_but_never_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int, is_cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = checkpoint(folder)
    damaged = bytearray((folder / "model.index").read_bytes())
    position %= len(damaged)
    damaged[position] ^= flip
    (folder / "model.index").write_bytes(damaged[:position] if is_cut else damaged)
    refusal = _refusal(path)
    assert refusal is None or "model.index" in refusal


def _refusal(path: Path) -> str | None:
    try:
        read_checkpoint(path)
    except ModelFileError as error:
        return str(error)
    return None
