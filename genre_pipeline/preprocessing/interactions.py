"""Interactions, raw to clean: who did what with which item, and when.

Belongs here: how an interaction's cells are read, which day a row belongs to. Kept out: the contract's own rules
(`contracts.tables.Interactions`).
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import dataframely as dy
import polars as pl

from genre_pipeline.contracts.columns import EVENT, ITEM_ID, TIMESTAMP, USER_ID, VALUE
from genre_pipeline.contracts.names import INTERACTIONS
from genre_pipeline.contracts.tables import EARLIEST_YEAR, LATEST_YEAR, Interactions
from genre_pipeline.preprocessing.cells import as_id, as_number, as_word
from genre_pipeline.preprocessing.cleaning import (
    ROW_NUMBER,
    Cleaned,
    PreprocessingConfig,
    RowCounts,
    drop_duplicates,
    finish,
    require_columns,
    split_rows,
)
from genre_pipeline.preprocessing.timestamps import utc_timestamps

_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, EVENT, VALUE)
_READABLE = {"timestamp_is_parsable": TIMESTAMP, "value_is_a_number": VALUE}


class _InteractionRows(Interactions):
    row_number = dy.UInt32(nullable=False)


def clean_interactions(raw: pl.DataFrame, config: PreprocessingConfig, *, as_of: datetime | None = None) -> Cleaned:
    """Clean raw interactions: `kept` in the schema `Interactions`, sorted by time, equal times in the source's order.

    Rules beside the contract's: `timestamp_is_parsable`, `value_is_a_number`, and with `as_of` `timestamp_in_future`
    (at or after `as_of`). Duplicates are rows with the same user, item, timestamp, event and value. Columns beyond
    the contract are left behind. Raises ContractError where a required column is missing or of an unusable type.
    """
    require_columns(INTERACTIONS, raw.columns, (USER_ID, ITEM_ID, TIMESTAMP))
    coerced = _coerce(raw, config)
    claims = {} if as_of is None else {"timestamp_in_future": pl.col(TIMESTAMP) < as_of}
    split = split_rows(raw, coerced, _InteractionRows, readable=_READABLE, claims=claims)
    kept = drop_duplicates(split.kept).sort(TIMESTAMP, maintain_order=True)
    return finish(INTERACTIONS, raw, kept.select(ROW_NUMBER, *_COLUMNS), split.broken, row_days(coerced[TIMESTAMP]))


def interactions_of_day(raw: pl.LazyFrame, day: date, config: PreprocessingConfig) -> Cleaned:
    """Clean the raw rows of one UTC day and no others; `kept` may be empty, for a day may be quiet.

    A row whose timestamp cannot be read, or lies outside the years of the contract, has no day of its own. It counts
    with the row before it in the source (the row after it, at the start), so that each row of the source belongs to
    exactly one day, a night's new faults are reported by that night, and the counts of all days add up to those of
    the source. Which day that is follows from the source alone: a backfill reports the same rows again.
    """
    ((_, cleaned),) = days_of_interactions(raw, [day], config)
    return cleaned


def days_of_interactions(
    raw: pl.LazyFrame, days: Sequence[date], config: PreprocessingConfig
) -> Iterator[tuple[date, Cleaned]]:
    """`interactions_of_day` for many days, with the source read and its days told once."""
    require_columns(INTERACTIONS, raw.collect_schema().names(), (USER_ID, ITEM_ID, TIMESTAMP))
    frame = raw.collect()
    day_of = row_days(utc_timestamps(frame[TIMESTAMP]))
    for day in days:
        cleaned = clean_interactions(frame.filter(day_of == day), config)
        dated = cleaned.rejected.with_columns(pl.lit(day, pl.Date).alias("day"))
        yield day, Cleaned(cleaned.kept, dated, cleaned.counts)


def with_events(cleaned: Cleaned, events: pl.DataFrame) -> Cleaned:
    """A day's cleaned rows and the events (schema `Interactions`) that came another way, each exact event once."""
    together = pl.concat([cleaned.kept, events.select(cleaned.kept.columns)])
    kept = together.unique(maintain_order=True).sort(TIMESTAMP, maintain_order=True)
    counts = cleaned.counts
    return Cleaned(
        kept,
        cleaned.rejected,
        RowCounts(
            read=counts.read + events.height,
            kept=kept.height,
            rejected=counts.rejected,
            duplicates=counts.duplicates + together.height - kept.height,
        ),
    )


def row_days(timestamps: pl.Series) -> pl.Series:
    """Date of the day each raw row belongs to, by the rule of `interactions_of_day`; null if no row has one."""
    has_day = timestamps.dt.year().is_between(EARLIEST_YEAR, LATEST_YEAR).fill_null(False)
    days = timestamps.dt.date()
    return days.set(~has_day, None).fill_null(strategy="forward").fill_null(strategy="backward")


def _coerce(raw: pl.DataFrame, config: PreprocessingConfig) -> pl.DataFrame:
    height = raw.height
    event = as_word(raw[EVENT]) if EVENT in raw.columns else pl.Series([None] * height, dtype=pl.String)
    value = as_number(raw[VALUE]) if VALUE in raw.columns else pl.Series([None] * height, dtype=pl.Float64)
    return pl.DataFrame(
        [
            as_id(raw[USER_ID]).alias(USER_ID),
            as_id(raw[ITEM_ID]).alias(ITEM_ID),
            utc_timestamps(raw[TIMESTAMP]).alias(TIMESTAMP),
            event.fill_null(config.default_event).alias(EVENT),
            value.alias(VALUE),
        ]
    )
