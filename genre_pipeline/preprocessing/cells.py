"""Reading single columns: ids, numbers, booleans, plain text and lists from whatever type a source gives them.

Belongs here: one function a kind of cell, raw series in, contract type out, null where a cell cannot be read. Kept
out: moments (`timestamps`) and free text (`text`).
"""

import polars as pl

from genre_pipeline.contracts.errors import ContractError

_TRUE = ("true", "1", "1.0", "t", "yes", "y")
_FALSE = ("false", "0", "0.0", "f", "no", "n")


def as_id(raw: pl.Series) -> pl.Series:
    """String. Text stays as it is (`007` is `007`); whole numbers lose no digit and gain no `.0`."""
    dtype = raw.dtype
    _refuse_nested(raw, "an id")
    if dtype.is_float():
        whole = raw.cast(pl.Int64, strict=False)
        is_whole = (raw == whole.cast(dtype)).fill_null(False)
        return whole.cast(pl.String).zip_with(is_whole, raw.fill_nan(None).cast(pl.String))
    return raw.cast(pl.String, strict=False)


def as_number(raw: pl.Series) -> pl.Series:
    """Float64; text is stripped, blank is null."""
    _refuse_nested(raw, "a number")
    if raw.dtype.is_temporal():
        raise _wrong_type(raw, "a number")
    cells = raw.str.strip_chars() if raw.dtype == pl.String else raw
    return cells.cast(pl.Float64, strict=False)


def as_boolean(raw: pl.Series) -> pl.Series:
    """Boolean from true/false, t/f, yes/no, y/n, 1/0 in any case, as text, number or Boolean."""
    if raw.dtype in (pl.Boolean, pl.Null):
        return raw.cast(pl.Boolean)
    _refuse_nested(raw, "true or false")
    words = raw.cast(pl.String).str.strip_chars().str.to_lowercase()
    known = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
    return words.replace_strict(known, default=None, return_dtype=pl.Boolean)


def as_word(raw: pl.Series) -> pl.Series:
    """String, stripped; blank is null. For names, paths and the like, which are not prose."""
    _refuse_nested(raw, "text")
    words = raw.cast(pl.String, strict=False).str.strip_chars()
    return words.set(words == "", None)


def as_categories(raw: pl.Series) -> pl.Series:
    """List(String) from a list, or from text `a|b`: stripped, blanks and repeats dropped, never null."""
    if isinstance(raw.dtype, pl.Array):
        raw = raw.arr.to_list()
    lists = raw if isinstance(raw.dtype, pl.List) else as_word(raw).str.split("|")
    name = pl.element().str.normalize("NFC").str.strip_chars()
    filled = name.filter(name.is_not_null() & (name != "")).unique(maintain_order=True)
    names = pl.col(raw.name).cast(pl.List(pl.String)).list.eval(filled)
    return lists.alias(raw.name).to_frame().select(names.fill_null(pl.lit([], pl.List(pl.String)))).to_series()


def _refuse_nested(raw: pl.Series, wanted: str) -> None:
    if raw.dtype.is_nested() or raw.dtype == pl.Object:
        raise _wrong_type(raw, wanted)


def _wrong_type(raw: pl.Series, wanted: str) -> ContractError:
    return ContractError(
        f"Column {raw.name!r} has the type {raw.dtype}, which is not {wanted}",
        remedy="Convert the column in the source, or map another column to this name under `source.columns`.",
    )
