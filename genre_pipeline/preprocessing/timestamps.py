"""Timestamps of every form a source may carry, read as one: Datetime(us, UTC).

Belongs here: parsing moments, and telling a clock from an order. Kept out: rules about which moments are allowed.
"""

import polars as pl

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import TIME

ORDER_BELOW = 100_000_000
"""Integers below this are an order: as unix seconds they would all lie before March 1973."""
_LARGEST_SECONDS = 8_000_000_000_000
"""Beyond this many seconds a microsecond clock overflows."""
_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
    r" ?(?:([Zz]|UTC)|([+-][0-9]{2}):?([0-9]{2})?)?$"
)
_COMMON_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%:z")


def utc_timestamps(raw: pl.Series) -> pl.Series:
    """Datetime(us, UTC) from a raw column; null where a cell cannot be read.

    Datetime: converted to UTC; without a zone it is UTC already; ms and ns become us. Date: its midnight. Numbers:
    unix seconds, also as text. Text: ISO 8601 with `T` or a space, seconds, fraction and offset optional, UTC where
    no offset is given; a date alone is its midnight. A column of any other type raises ContractError.
    """
    dtype = raw.dtype
    if isinstance(dtype, pl.Datetime):
        zoned = raw.dt.replace_time_zone("UTC") if dtype.time_zone is None else raw.dt.convert_time_zone("UTC")
        return zoned.dt.cast_time_unit("us")
    if dtype in (pl.Date, pl.Null):
        return raw.cast(TIME)
    if dtype.is_numeric():
        return _from_seconds(raw)
    if dtype == pl.String:
        return _from_text(raw.str.strip_chars())
    raise ContractError(
        f"Column {raw.name!r} has the type {dtype}, which is not a time",
        remedy="Give UTC datetimes, ISO text, unix seconds, or an integer order.",
    )


def is_order(raw: pl.Series) -> bool:
    """Whether a raw timestamp column holds an order instead of a clock.

    The rule: the column is numeric, or text that holds numbers, and every value that can be read is a whole number
    from 0 to under 100,000,000. Such a number is then stored as that many seconds after 1970-01-01, which keeps the
    order and nothing else: days and windows mean nothing. An empty column, dates and ISO text are a clock.
    """
    if raw.dtype.is_numeric():
        numbers = raw.cast(pl.Float64)
    elif raw.dtype == pl.String:
        texts = raw.str.strip_chars()
        if texts.str.contains(_ISO).any():
            return False
        numbers = texts.cast(pl.Float64, strict=False)
    else:
        return False
    read = numbers.filter(numbers.is_finite())
    is_small = (read >= 0) & (read < ORDER_BELOW) & (read == read.floor())
    return len(read) > 0 and is_small.all()


def _from_seconds(seconds: pl.Series) -> pl.Series:
    if seconds.dtype.is_integer():
        whole = seconds.cast(pl.Int64, strict=False)
        microseconds = whole.set(whole.abs() >= _LARGEST_SECONDS, None) * 1_000_000
    else:
        number = seconds.cast(pl.Float64)
        is_readable = number.is_finite() & (number.abs() < _LARGEST_SECONDS)
        microseconds = (number.set(~is_readable, None) * 1e6).round().cast(pl.Int64)
    return microseconds.cast(TIME)


def _from_text(texts: pl.Series) -> pl.Series:
    """ISO text and numbers may stand in one column; each cell is read by its own form alone."""
    is_iso = texts.str.contains(_ISO).fill_null(False)
    if is_iso.all():
        return _from_iso(texts)
    iso = _from_iso(texts.set(~is_iso, None)) if is_iso.any() else texts.clear(len(texts)).cast(TIME)
    numbers = texts.set(~texts.str.contains(_NUMBER), None)
    whole = _from_seconds(numbers.cast(pl.Int64, strict=False))
    fractional = _from_seconds(numbers.cast(pl.Float64, strict=False))
    return iso.zip_with(is_iso, whole.zip_with(whole.is_not_null(), fractional))


def _from_iso(texts: pl.Series) -> pl.Series:
    """The form of the first text is tried on all; what does not fit it is taken apart, which costs ten times more."""
    first = texts.drop_nulls().head(1)
    fitting = [form for form in _COMMON_FORMATS if not _by_format(first, form).has_nulls()]
    if not fitting or first.is_empty():
        return _by_parts(texts)
    read = _by_format(texts, fitting[0])
    is_left = read.is_null() & texts.is_not_null()
    return read if not is_left.any() else read.zip_with(~is_left, _by_parts(texts.set(~is_left, None)))


def _by_format(texts: pl.Series, form: str) -> pl.Series:
    moments = texts.str.to_datetime(form, time_unit="us", strict=False, cache=False)
    return moments if form.endswith("%:z") else moments.dt.replace_time_zone("UTC")


def _by_parts(texts: pl.Series) -> pl.Series:
    part = pl.col("text").str.extract_groups(_ISO).struct
    offset = pl.concat_str(part["6"].fill_null("+00"), pl.lit(":"), part["7"].fill_null("00"))
    moment = pl.concat_str(
        part["1"], pl.lit("T"), part["2"].fill_null("00:00"), pl.lit(":"), part["3"].fill_null("00"),
        pl.lit("."), part["4"].fill_null("0"), offset,
    )  # fmt: skip
    whole = texts.alias("text").to_frame().select(moment).to_series()
    return _by_format(whole, "%Y-%m-%dT%H:%M:%S%.f%:z")
