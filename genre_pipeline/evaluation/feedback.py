"""What became of the lists that were shown: impressions joined to clicks, and their metrics by variant and day.

Frames come in, frames go out. Belongs here: the join, the click-through rate, and the bias of ranks. Comparing variants
is `experiment`'s.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, field_validator

from genre_pipeline.contracts.columns import DAY, EVENT, EVENT_ID, ITEM_ID, RANK, RUN_ID, TIMESTAMP, USER_ID, VARIANT
from genre_pipeline.contracts.names import IMPRESSION
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import OnlineMetrics
from genre_pipeline.evaluation.intervals import IntervalConfig, percentile_interval, resampled_means

CLICKED = "is_clicked"
IMPRESSIONS, CLICKS = "impressions", "clicks"
RANKS_SCHEMA = pl.Schema(
    {
        VARIANT: pl.String(),
        RANK: pl.Int64(),
        IMPRESSIONS: pl.Int64(),
        CLICKS: pl.Int64(),
        "users": pl.Int64(),
        "ctr": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)


class FeedbackConfig(Settings):
    """What counts as a success of an item that was shown, and how long one is waited for."""

    positive_events: tuple[str, ...] = ("click",)
    """Event types that count as a click on what was shown before."""
    window_hours: float = Field(default=24.0, gt=0)
    """A click this long after an item was shown still belongs to it."""
    days: PositiveInt = 28
    """How many days each night counts again, its own the last: an event that arrives later changes nothing."""

    @field_validator("positive_events")
    @classmethod
    def _is_a_deed(cls, positive: tuple[str, ...]) -> tuple[str, ...]:
        if not positive or IMPRESSION in positive:
            raise ValueError(f"positive_events names what users do: at least one event, and not {IMPRESSION!r}")
        return positive


def joined_feedback(events: pl.DataFrame, config: FeedbackConfig) -> pl.DataFrame:
    """Impressions, each with whether it was clicked.

    `events` is what the event log holds (`LOGGED_SCHEMA` without value, in any order, repeats or not). A click belongs
    to the last impression of the same user and item at or before it, within the window, and to no other; further
    clicks on that impression change nothing. An impression that was sent twice (the same user, item, run, rank and
    time) counts once.

    Returns user_id, item_id, timestamp, run_id, variant, rank, is_clicked, sorted by time, user, item, run, rank.
    """
    order = [TIMESTAMP, USER_ID, ITEM_ID, RUN_ID, RANK, EVENT_ID]
    key = [USER_ID, ITEM_ID, RUN_ID, RANK, TIMESTAMP]
    shown = events.filter(pl.col(EVENT) == IMPRESSION).sort(order).unique(key, keep="first", maintain_order=True)
    shown = shown.with_row_index("nth")
    clicks = events.filter(pl.col(EVENT).is_in(list(config.positive_events))).select(USER_ID, ITEM_ID, TIMESTAMP)
    hit = clicks.sort(TIMESTAMP, USER_ID, ITEM_ID).join_asof(
        shown.select(USER_ID, ITEM_ID, TIMESTAMP, "nth"),
        on=TIMESTAMP,
        by=[USER_ID, ITEM_ID],
        strategy="backward",
        tolerance=timedelta(hours=config.window_hours),
        check_sortedness=False,
    )
    clicked = pl.col("nth").is_in(hit["nth"].drop_nulls().unique().implode())
    return shown.select(USER_ID, ITEM_ID, TIMESTAMP, RUN_ID, VARIANT, RANK, clicked.alias(CLICKED))


def online_metrics(
    shown: pl.DataFrame,
    popularity: pl.DataFrame,
    catalogue_size: int,
    *,
    as_of: datetime,
    seed: int,
    config: FeedbackConfig,
    intervals: IntervalConfig,
) -> pl.DataFrame:
    """What each variant's lists were worth on each day (UTC, of the impression), as `OnlineMetrics`.

    `shown` as `joined_feedback` gives it; `popularity` has item_id and popularity (Int64, interactions so far).
    ctr is clicked impressions over impressions, low and high a bootstrap over users. coverage: distinct items shown
    over the catalogue. novelty: mean of -log2 of an impression's share of all interactions, in bits (one at least, as
    offline). A day `is_final` when no click of its window can still be missing at `as_of`, late arrivals aside.
    """
    if shown.is_empty():
        return OnlineMetrics.create_empty()
    total = max(float(popularity["popularity"].sum()), 1.0)
    known = pl.col("popularity").fill_null(0).clip(lower_bound=1).cast(pl.Float64)
    facts = shown.with_columns(pl.col(TIMESTAMP).dt.date().alias(DAY)).join(
        popularity.select(ITEM_ID, "popularity"), on=ITEM_ID, how="left", maintain_order="left"
    )
    lists = facts.group_by(DAY, VARIANT).agg(
        (pl.col(ITEM_ID).n_unique() / max(catalogue_size, 1)).clip(upper_bound=1.0).alias("coverage"),
        (-(known / total).log(2)).mean().alias("novelty"),
    )
    waited = pl.col(DAY).cast(pl.Datetime("us", "UTC")) + timedelta(days=1, hours=config.window_hours)
    rates = click_rates(facts, [DAY, VARIANT], seed=seed, intervals=intervals)
    together = rates.join(lists, on=[DAY, VARIANT]).with_columns((waited <= as_of).alias("is_final"))
    return OnlineMetrics.cast(together.select(OnlineMetrics.column_names()).sort(DAY, VARIANT))


def rank_metrics(shown: pl.DataFrame, *, seed: int, intervals: IntervalConfig) -> pl.DataFrame:
    """CTR by variant and rank, as `RANKS_SCHEMA`: how much a place in the list is worth.

    Plain rates. They mix how well users look at a rank with how good the items there are, since a list shows its best
    first; they are no estimate of examination, which needs items placed by chance and marked so.
    """
    if shown.is_empty():
        return pl.DataFrame(schema=RANKS_SCHEMA)
    rates = click_rates(shown, [VARIANT, RANK], seed=seed, intervals=intervals)
    return rates.select(pl.col(name).cast(kind) for name, kind in RANKS_SCHEMA.items())


def click_rates(shown: pl.DataFrame, by: Sequence[str], *, seed: int, intervals: IntervalConfig) -> pl.DataFrame:
    """`by`, impressions, clicks, users, ctr, low, high: a row a group, sorted.

    Users are drawn again, with all their impressions: what one user does is not independent. A group of fewer than
    `min_users` users has no interval.
    """
    groups = per_user_counts(shown, by).sort([*by, USER_ID]).partition_by(by, as_dict=True, maintain_order=True)
    rows = [
        {**dict(zip(by, key, strict=True)), **_rate(group.select(CLICKS, IMPRESSIONS), seed, intervals)}
        for key, group in groups.items()
    ]
    numbers = {name: RANKS_SCHEMA[name] for name in (IMPRESSIONS, CLICKS, "users", "ctr", "low", "high")}
    return pl.DataFrame(rows, schema={**{name: shown.schema[name] for name in by}, **numbers})


def per_user_counts(shown: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """`by`, user_id, impressions, clicks (Int64)."""
    counts = pl.len().cast(pl.Int64).alias(IMPRESSIONS), pl.col(CLICKED).sum().cast(pl.Int64).alias(CLICKS)
    return shown.group_by([*by, USER_ID]).agg(counts)


def resampled_rates(counts: NDArray[np.float64], *, seed: int, intervals: IntervalConfig) -> NDArray[np.float64]:
    """float64 [resamples, rates] of float64 [users, 2 × rates], clicks beside impressions: the ratio of their sums.

    NaN where a resample holds no impression.
    """
    means = resampled_means(counts, seed=seed, config=intervals)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(means[:, 1::2] > 0, means[:, ::2] / means[:, 1::2], np.nan)


def _rate(counts: pl.DataFrame, seed: int, intervals: IntervalConfig) -> dict[str, float | int | None]:
    clicks, impressions = int(counts[CLICKS].sum()), int(counts[IMPRESSIONS].sum())
    low = high = None
    if counts.height >= intervals.min_users:
        resampled = resampled_rates(counts.to_numpy().astype(np.float64), seed=seed, intervals=intervals)
        low, high = (float(end[0]) for end in percentile_interval(resampled, intervals.confidence))
    totals = {IMPRESSIONS: impressions, CLICKS: clicks, "users": counts.height}
    return {**totals, "ctr": clicks / impressions, "low": low, "high": high}
