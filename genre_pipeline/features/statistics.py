"""Counts, windows and ages of items and users as of a moment. What a user had, in order, belongs to `histories`.

Every statistic looks back from `as_of`, the exclusive end of what is known. Without a clock (`has_clock=False`: the
source knows an order only) windows, ages and decay mean nothing: they are null, and `popularity_decayed` is the plain
count.
"""

from datetime import datetime

import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, ITEM_ID, TIMESTAMP, USER_ID, VALUE
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import TIME

_MICROSECONDS_PER_DAY = 86_400e6
_FIXED_POINT = 2**32
_DECIMALS = 9


class StatisticsConfig(Settings):
    """How fast the past fades."""

    half_life_days: float = Field(default=30.0, gt=0)
    """After so many days an interaction counts half in `popularity_decayed`."""


def item_statistics(
    interactions: pl.DataFrame | pl.LazyFrame,
    *,
    as_of: datetime,
    config: StatisticsConfig | None = None,
    has_clock: bool = True,
) -> pl.DataFrame:
    """One row an item with an interaction before `as_of`, sorted by item_id.

    Columns: item_id, event_timestamp (= as_of), interactions_total, interactions_7d, interactions_30d, users_total
    (Int64), mean_value (Float64, null where no interaction has a value), popularity_decayed (Float64, the sum of
    0.5^(age in days / half-life)), days_since_first, days_since_last (Float64).
    """
    config = config or StatisticsConfig()
    return _grouped(
        interactions, ITEM_ID, as_of, has_clock,
        distinct=_count(pl.col(USER_ID).n_unique()).alias("users_total"),
        decayed=[_decayed(config.half_life_days, has_clock).alias("popularity_decayed")],
    )  # fmt: skip


def user_statistics(
    interactions: pl.DataFrame | pl.LazyFrame, *, as_of: datetime, has_clock: bool = True
) -> pl.DataFrame:
    """One row a user with an interaction before `as_of`, sorted by user_id.

    Columns: user_id, event_timestamp (= as_of), interactions_total, interactions_7d, interactions_30d, items_total
    (Int64), mean_value (Float64, null where no interaction has a value), days_since_first, days_since_last (Float64).
    """
    distinct = _count(pl.col(ITEM_ID).n_unique()).alias("items_total")
    return _grouped(interactions, USER_ID, as_of, has_clock, distinct=distinct, decayed=[])


def bump_statistics(
    statistics: pl.DataFrame, events: pl.DataFrame, histories: pl.DataFrame | None = None
) -> pl.DataFrame:
    """User statistics after new events, between two nights: rows for every user of either frame, sorted by user_id.

    `event_timestamp` moves to the latest of the old one and the user's events, and the ages with it. Exact until the
    next night, but for three things: what has left a window since the last night is still counted in it; an item is
    new to a user unless the `histories` given (as before the events) hold it; `mean_value` takes every old interaction
    as valued. Each event must be given once: applying it twice counts it twice. For data with a clock.
    """
    # With the old row's columns under their own names, a user's events under `new_…`.
    joined = statistics.join(_new_counts(statistics, events, histories), on=USER_ID, how="full", coalesce=True)
    moved = (pl.col("now") - pl.col(EVENT_TIMESTAMP)).dt.total_microseconds() / _MICROSECONDS_PER_DAY
    old_total = pl.when(pl.col("mean_value").is_not_null()).then(pl.col("interactions_total")).otherwise(0)
    valued = old_total + pl.col("new_valued")
    mean = (pl.col("mean_value").fill_null(0) * old_total + pl.col("new_sum")) / valued
    bumped = joined.with_columns(pl.col("now").fill_null(pl.col(EVENT_TIMESTAMP))).with_columns(
        _plus("interactions_total", "new_total"),
        _plus("interactions_7d", "new_7d"),
        _plus("interactions_30d", "new_30d"),
        _plus("items_total", "new_items"),
        pl.when(pl.col("new_valued") > 0).then(mean.round(_DECIMALS)).otherwise("mean_value").alias("mean_value"),
        pl.max_horizontal(pl.col("days_since_first") + moved, "new_first").alias("days_since_first"),
        pl.min_horizontal(pl.col("days_since_last") + moved, "new_last").alias("days_since_last"),
        pl.col("now").alias(EVENT_TIMESTAMP),
    )
    return bumped.select(statistics.columns).sort(USER_ID)


def _new_counts(statistics: pl.DataFrame, events: pl.DataFrame, histories: pl.DataFrame | None) -> pl.DataFrame:
    old = statistics.select(USER_ID, EVENT_TIMESTAMP)
    latest = events.group_by(USER_ID).agg(pl.col(TIMESTAMP).max().alias("now")).join(old, on=USER_ID, how="left")
    now = latest.select(USER_ID, pl.max_horizontal("now", EVENT_TIMESTAMP).alias("now"))
    known = (
        histories
        if histories is not None
        else pl.DataFrame(schema={USER_ID: pl.String, "item_ids": pl.List(pl.String)})
    )
    had = known.select(USER_ID, pl.col("item_ids").alias(ITEM_ID)).explode(ITEM_ID).drop_nulls().unique()
    fresh = events.join(had, on=[USER_ID, ITEM_ID], how="anti").group_by(USER_ID)
    age = (pl.col("now") - pl.col(TIMESTAMP)).dt.total_microseconds() / _MICROSECONDS_PER_DAY
    counted = events.join(now, on=USER_ID).group_by(USER_ID).agg(
        pl.col("now").first(),
        _count(pl.len()).alias("new_total"),
        _count((age <= 7).sum()).alias("new_7d"),
        _count((age <= 30).sum()).alias("new_30d"),
        _count(pl.col(VALUE).count()).alias("new_valued"),
        pl.col(VALUE).sum().alias("new_sum"),
        age.max().alias("new_first"),
        age.min().alias("new_last"),
    )  # fmt: skip
    return counted.join(fresh.agg(_count(pl.col(ITEM_ID).n_unique()).alias("new_items")), on=USER_ID, how="left")


def _plus(old: str, new: str) -> pl.Expr:
    return (pl.col(old).fill_null(0) + pl.col(new).fill_null(0)).alias(old)


def _grouped(
    interactions: pl.DataFrame | pl.LazyFrame,
    key: str,
    as_of: datetime,
    has_clock: bool,
    *,
    distinct: pl.Expr,
    decayed: list[pl.Expr],
) -> pl.DataFrame:
    age = pl.col("age_days")
    known = interactions.lazy().filter(pl.col(TIMESTAMP) < as_of).with_columns(_days_before(as_of))
    table = known.group_by(key).agg(
        _count(pl.len()).alias("interactions_total"),
        _clocked(_count((age <= 7).sum()), has_clock).alias("interactions_7d"),
        _clocked(_count((age <= 30).sum()), has_clock).alias("interactions_30d"),
        distinct,
        # Partial sums meet in any order: rounding keeps the last bits from telling.
        pl.col(VALUE).mean().round(_DECIMALS).alias("mean_value"),
        *decayed,
        _clocked(age.max(), has_clock).alias("days_since_first"),
        _clocked(age.min(), has_clock).alias("days_since_last"),
    )
    stamp = pl.lit(as_of).cast(TIME).alias(EVENT_TIMESTAMP)
    return table.sort(key).select(key, stamp, pl.exclude(key)).collect()


def _days_before(as_of: datetime) -> pl.Expr:
    # Times the reciprocal, by hand: polars divides by a number now so, now exactly, depending on the row's place, and a
    # day that is run again has to give the same bytes.
    microseconds = (pl.lit(as_of).cast(TIME) - pl.col(TIMESTAMP)).dt.total_microseconds().cast(pl.Float64)
    return (microseconds * (1 / _MICROSECONDS_PER_DAY)).round(_DECIMALS).alias("age_days")


def _decayed(half_life_days: float, has_clock: bool) -> pl.Expr:
    """A sum in fixed point, steps of 2^-32: whole numbers add up the same in any order, on any number of threads."""
    if not has_clock:
        return pl.len().cast(pl.Float64)
    weight = pl.lit(0.5).pow(pl.col("age_days") * (1 / half_life_days))
    return (weight * _FIXED_POINT).round().cast(pl.Int64).sum() / _FIXED_POINT


def _clocked(statistic: pl.Expr, has_clock: bool) -> pl.Expr:
    return statistic if has_clock else pl.when(pl.lit(False)).then(statistic)


def _count(counted: pl.Expr) -> pl.Expr:
    return counted.cast(pl.Int64)
