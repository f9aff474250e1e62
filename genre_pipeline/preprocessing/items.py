"""The catalogue, raw to clean: one row an item, its text normalised, its categories a list.

Belongs here: how an item's cells are read, which row of an item counts. Kept out: media bytes; composing texts.
"""

import dataframely as dy
import polars as pl

from genre_pipeline.contracts.columns import (
    AUDIO,
    AVAILABLE,
    CATEGORIES,
    DESCRIPTION,
    IMAGE,
    ITEM_ID,
    PRICE,
    PUBLISHED_AT,
    TITLE,
)
from genre_pipeline.contracts.names import ITEMS
from genre_pipeline.contracts.tables import TIME, Items
from genre_pipeline.preprocessing.cells import as_boolean, as_categories, as_id, as_number, as_word
from genre_pipeline.preprocessing.cleaning import (
    ROW_NUMBER,
    Cleaned,
    Split,
    finish,
    is_blank,
    keep_last,
    require_columns,
    split_rows,
)
from genre_pipeline.preprocessing.text import normalise_text
from genre_pipeline.preprocessing.timestamps import utc_timestamps

_READABLE = {
    "available_is_boolean": AVAILABLE,
    "published_at_is_parsable": PUBLISHED_AT,
    "price_is_a_number": PRICE,
}
_TYPES: dict[str, pl.DataType] = {
    TITLE: pl.String(), DESCRIPTION: pl.String(), CATEGORIES: pl.List(pl.String), IMAGE: pl.String(),
    AUDIO: pl.String(), AVAILABLE: pl.Boolean(), PUBLISHED_AT: TIME, PRICE: pl.Float64(),
}  # fmt: skip


class _ItemRows(Items):
    """Rows before repeats are settled: the id is not yet a key."""

    item_id = dy.String(nullable=False, min_length=1)
    row_number = dy.UInt32(nullable=False)


def clean_items(raw: pl.DataFrame) -> Cleaned:
    """Clean a raw catalogue: `kept` has the columns of `Items` and then the source's further ones, in source order.

    Rules beside the contract's: `available_is_boolean`, `published_at_is_parsable`, `price_is_a_number`, and
    `item_id_superseded`: of several good rows with one id the last counts, and the earlier are rejected; where they
    are equal in every column, they are exact duplicates of the last. `available` is true where it is not said.
    """
    require_columns(ITEMS, raw.columns, (ITEM_ID,))
    coerced = _coerce(raw)
    split = split_rows(raw, coerced.select(ITEM_ID, *_TYPES), _ItemRows, readable=_READABLE)
    others = coerced.select(pl.exclude(ITEM_ID, *_TYPES)).with_row_index(ROW_NUMBER)
    whole = split.kept.join(others, on=ROW_NUMBER, how="left", maintain_order="left")
    settled = keep_last(Split(whole.select(ROW_NUMBER, *coerced.columns), split.broken), ITEM_ID)
    return finish(ITEMS, raw, settled.kept, settled.broken, pl.Series([None] * raw.height, dtype=pl.Date))


def catalogue_of(interactions: pl.DataFrame) -> pl.DataFrame:
    """A raw catalogue where a source has none: the ids of the interactions, sorted, nothing else known."""
    return interactions.select(pl.col(ITEM_ID).unique().sort())


def _coerce(raw: pl.DataFrame) -> pl.DataFrame:
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in _TYPES.items() if name not in raw.columns]
    rows = raw.with_columns(absent)
    prose = pl.DataFrame([as_word(rows[name]).alias(name) for name in (TITLE, DESCRIPTION)])
    read = [
        as_id(rows[ITEM_ID]).alias(ITEM_ID),
        *prose.select(normalise_text(pl.col(name)).alias(name) for name in prose.columns),
        as_categories(rows[CATEGORIES]).alias(CATEGORIES),
        as_word(rows[IMAGE]).alias(IMAGE),
        as_word(rows[AUDIO]).alias(AUDIO),
        _available(rows[AVAILABLE]).alias(AVAILABLE),
        utc_timestamps(rows[PUBLISHED_AT]).alias(PUBLISHED_AT),
        as_number(rows[PRICE]).alias(PRICE),
    ]
    return pl.DataFrame([*read, *rows.select(pl.exclude(ITEM_ID, *_TYPES))])


def _available(raw: pl.Series) -> pl.Series:
    """True where the source says nothing; null where it says something that is neither true nor false."""
    said = as_boolean(raw)
    return said.set(is_blank(raw), True)
