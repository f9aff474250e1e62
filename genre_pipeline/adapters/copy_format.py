"""Frames as PostgreSQL's binary COPY stream, assembled in numpy without a Python loop over rows.

What belongs here: the byte layout of the types the tables use (text, boolean, arrays of text and real). A column is
packed as its rows' bytes end to end, with the size of each; packed columns are then woven together row by row.
Layout: https://www.postgresql.org/docs/15/sql-copy.html, "Binary Format".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from genre_pipeline.contracts.errors import ContractError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_TEXT_OID, _REAL_OID = 25, 700
_NULL = -1


@dataclass(frozen=True)
class _Packed:
    """The bytes of each row of a column, end to end: uint8 [sum of sizes] and int64 [rows]."""

    data: np.ndarray
    sizes: np.ndarray


def copy_block(frame: pl.DataFrame) -> bytes:
    """The rows of a frame as COPY tuples, without header and trailer; columns in the frame's order."""
    width = _big_endian(np.full(frame.height, frame.width), ">i2")
    return _woven([width, *(_field(column) for column in frame.get_columns())]).data.tobytes()


def _field(column: pl.Series) -> _Packed:
    payload = _payload(column)
    sizes = np.where(column.is_null().to_numpy(), _NULL, payload.sizes)
    return _woven([_big_endian(sizes, ">i4"), payload])


def _payload(column: pl.Series) -> _Packed:
    if column.dtype == pl.String:
        return _text(column)
    if column.dtype == pl.Boolean:
        return _big_endian(column.to_numpy().astype(np.uint8), ">u1")
    if column.dtype == pl.List(pl.String):
        return _array(column, _TEXT_OID)
    if column.dtype == pl.List(pl.Float32):
        return _array(column, _REAL_OID)
    raise ContractError(
        f"Column {column.name!r} has a type the tables do not use", remedy="Cast it.", culprits=[str(column.dtype)]
    )


def _array(column: pl.Series, element_oid: int) -> _Packed:
    """A one-dimensional array a row, without nulls inside; an empty list is an array of no elements."""
    counts = column.list.len().to_numpy().astype(np.int64)
    elements = column.list.explode(empty_as_null=False, keep_nulls=False)
    packed = _text(elements) if element_oid == _TEXT_OID else _big_endian(elements.to_numpy(), ">f4")
    prefixed = _woven([_big_endian(packed.sizes, ">i4"), packed])
    ends = np.concatenate([[0], np.cumsum(prefixed.sizes)])[np.concatenate([[0], np.cumsum(counts)])]
    head = np.empty((len(counts), 5), dtype=">i4")
    # Dimensions, a flag for nulls, element type; then the one dimension's length and first index.
    head[:] = (1, 0, element_oid, 0, 1)
    head[:, 3] = counts
    heads = _Packed(head.view(np.uint8).reshape(-1), np.full(len(counts), 20, dtype=np.int64))
    return _woven([heads, _Packed(prefixed.data, np.diff(ends))])


def _text(column: pl.Series) -> _Packed:
    joined = column.str.join("").item() or ""
    sizes = column.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    return _Packed(np.frombuffer(joined.encode(), dtype=np.uint8), sizes)


def _big_endian(values: np.ndarray, dtype: str) -> _Packed:
    typed = np.ascontiguousarray(values.astype(dtype))
    return _Packed(typed.view(np.uint8), np.full(len(typed), typed.dtype.itemsize, dtype=np.int64))


def _woven(parts: Sequence[_Packed]) -> _Packed:
    """Row by row, the bytes of each part after those of the part before."""
    sizes: np.ndarray = np.stack([part.sizes for part in parts]).sum(axis=0)
    out = np.empty(int(sizes.sum()), dtype=np.uint8)
    starts = np.cumsum(sizes) - sizes
    for part in parts:
        _place(out, starts, part)
        starts = starts + part.sizes
    return _Packed(out, sizes)


def _place(out: np.ndarray, starts: np.ndarray, part: _Packed) -> None:
    if not len(part.data):
        return
    width = int(part.sizes[0])
    if (part.sizes == width).all():
        out[starts[:, None] + np.arange(width)] = part.data.reshape(-1, width)
        return
    own_starts = np.cumsum(part.sizes) - part.sizes
    out[np.repeat(starts - own_starts, part.sizes) + np.arange(len(part.data))] = part.data
