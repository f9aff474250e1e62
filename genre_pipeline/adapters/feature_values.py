"""Between polars columns and Feast's protobuf values, both ways, a column at a time.

Feast's own conversion goes through pandas and costs more than the write itself; here a vector's bytes are laid into the
message and lifted out of it as they are. Loops over values stand here and nowhere else: a protobuf message is made one
by one. Does not belong here: which columns a view has, and where values go.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value
from feast.types import Array, FeastType, Float32, Float64, Int64, String

from genre_pipeline.contracts.errors import FeatureStoreError

_DTYPES: tuple[tuple[FeastType, pl.DataType], ...] = (
    (String, pl.String()),
    (Int64, pl.Int64()),
    (Float64, pl.Float64()),
    (Array(Float32), pl.List(pl.Float32)),
    (Array(Int64), pl.List(pl.Int64)),
    (Array(String), pl.List(pl.String)),
)
_PACKED_FLOATS = b"\x0a"
"""Protobuf's tag of FloatList.val: field 1, bytes that a length precedes."""
_SEVEN_BITS, _MORE = 0x7F, 0x80


def feature_schema(view: FeatureView, features: Sequence[str] | None = None) -> dict[str, pl.DataType]:
    """Column name to polars type of a view's features, all of them or those named, in the order declared."""
    chosen = [field for field in view.features if features is None or field.name in features]
    return {field.name: _polars_type(view.name, field.name, field.dtype) for field in chosen}


def entity_keys(join_key: str, ids: pl.Series) -> list[EntityKey]:
    """One key an id, String without nulls."""
    return [EntityKey(join_keys=[join_key], entity_values=[Value(string_val=value)]) for value in ids.to_list()]


def to_values(column: pl.Series) -> list[Value]:
    """One message a row; null becomes the empty message, which is what Feast takes for null."""
    if column.dtype == pl.List(pl.Float32):
        return [Value() if vector is None else Value(float_list_val=vector) for vector in _float_lists(column)]
    make = _MAKERS[str(column.dtype)]
    return [Value() if value is None else make(value) for value in column.to_list()]


def to_column(dtype: pl.DataType, values: Sequence[Value | None]) -> pa.Array:
    """The reverse of `to_values`; None stands for an entity that is not there and becomes null.

    Arrow arrays, since a polars series costs 50 µs to make of Python values, and one answer has 15 of them.
    """
    if dtype == pl.List(pl.Float32):
        return _float_column(values)
    return pa.array([None if value is None else _content(value) for value in values], _ARROW[str(dtype)])


def to_times(times: Sequence[datetime | None]) -> pa.Array:
    """Times in UTC, or None for an entity that is not there, as timestamps in microseconds."""
    return pa.array(times, pa.timestamp("us", "UTC"))


def _content(value: Value) -> object:
    kind = value.WhichOneof("val")
    if kind is None:
        return None
    content: Any = getattr(value, kind)
    return list(content.val) if kind.endswith("_list_val") else content


def _float_lists(column: pl.Series) -> list[FloatList | None]:
    """Row by row slices of the column's one flat buffer of little-endian floats."""
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    flat = column.drop_nulls().explode(empty_as_null=False).to_numpy().astype("<f4", copy=False).tobytes()
    ends = np.cumsum(lengths * 4).tolist()
    starts = [0, *ends[:-1]]
    headers = {length: _PACKED_FLOATS + _varint(length * 4) for length in set(lengths.tolist())}
    rows = zip(column.is_null().to_list(), lengths.tolist(), starts, ends, strict=True)
    return [
        None if is_null else FloatList.FromString(headers[length] + flat[start:end])
        for is_null, length, start, end in rows
    ]


def _float_column(values: Sequence[Value | None]) -> pa.Array:
    """Lists of float32 out of the messages' own bytes, without making a Python float of each number."""
    is_null = [value is None or not value.HasField("float_list_val") for value in values]
    packed = [
        b"" if value is None or null else _payload(value.float_list_val)
        for value, null in zip(values, is_null, strict=True)
    ]
    offsets = np.cumsum([0, *(len(part) // 4 for part in packed)], dtype=np.int32)
    flat = np.frombuffer(b"".join(packed), dtype="<f4")
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array(is_null, pa.bool_()))


def _payload(floats: FloatList) -> bytes:
    packed: bytes = floats.SerializeToString()
    return packed[len(packed) - 4 * len(floats.val) :]


def _varint(number: int) -> bytes:
    """Protobuf's variable-length integer: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _polars_type(view: str, feature: str, dtype: FeastType) -> pl.DataType:
    for feast_type, polars_type in _DTYPES:
        if feast_type == dtype:
            return polars_type
    raise FeatureStoreError(
        f"Feature {feature} of {view} has a type that the pipeline does not store",
        remedy="Declare one of: " + ", ".join(str(feast_type) for feast_type, _ in _DTYPES) + ".",
        culprits=[str(dtype)],
    )


_ARROW: dict[str, pa.DataType] = {
    str(pl.String()): pa.string(),
    str(pl.Int64()): pa.int64(),
    str(pl.Float64()): pa.float64(),
    str(pl.List(pl.Int64)): pa.list_(pa.int64()),
    str(pl.List(pl.String)): pa.list_(pa.string()),
}
_MAKERS: dict[str, Callable[[Any], Value]] = {
    str(pl.String()): lambda value: Value(string_val=value),
    str(pl.Int64()): lambda value: Value(int64_val=value),
    str(pl.Float64()): lambda value: Value(double_val=value),
    str(pl.List(pl.Int64)): lambda value: Value(int64_list_val=Int64List(val=value)),
    str(pl.List(pl.String)): lambda value: Value(string_list_val=StringList(val=value)),
}
