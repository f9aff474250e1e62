"""Small frames of feature views, made of what a test varies."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

TIME = pl.Datetime("us", "UTC")
MIDNIGHT = datetime(1998, 4, 1, tzinfo=UTC)


def at(days: float) -> datetime:
    """A moment counted from MIDNIGHT."""
    return MIDNIGHT + timedelta(days=days)


def user_vectors(rows: Sequence[tuple[str, datetime, list[float] | None]], model: str = "m") -> pl.DataFrame:
    """Rows of (user, when, vector)."""
    return pl.DataFrame(
        [(user, time, model, vector) for user, time, vector in rows],
        schema={"user_id": pl.String, "event_timestamp": TIME, "model": pl.String, "vector": pl.List(pl.Float32)},
        orient="row",
    )


def item_text_vectors(vectors: np.ndarray, time: datetime) -> pl.DataFrame:
    """One item a row of float32 [items, width]."""
    ids = pl.Series("item_id", [f"i{position}" for position in range(len(vectors))], dtype=pl.String)
    return pl.DataFrame(
        [ids, ids.alias("content_hash"), pl.Series("vector", vectors).cast(pl.List(pl.Float32))]
    ).with_columns(model=pl.lit("m"), event_timestamp=pl.lit(time, TIME))


def user_histories(user: str, items: list[str], time: datetime) -> pl.DataFrame:
    """One user's history, one view a second."""
    return pl.DataFrame(
        [(user, time, items, list(range(len(items))), ["view"] * len(items))],
        schema={
            "user_id": pl.String, "event_timestamp": TIME, "item_ids": pl.List(pl.String),
            "timestamps": pl.List(pl.Int64), "events": pl.List(pl.String),
        },
        orient="row",
    )  # fmt: skip


def user_statistics(users: Sequence[str], time: datetime, total: int = 1) -> pl.DataFrame:
    """A snapshot: every user with the same numbers, `total` telling one snapshot from another."""
    counts = ("interactions_total", "interactions_7d", "interactions_30d", "items_total")
    return pl.DataFrame({"user_id": pl.Series(users, dtype=pl.String)}).with_columns(
        *(pl.lit(total, pl.Int64).alias(name) for name in counts),
        mean_value=pl.lit(None, pl.Float64),
        days_since_first=pl.lit(float(total), pl.Float64),
        days_since_last=pl.lit(0.5, pl.Float64),
        event_timestamp=pl.lit(time, TIME),
    )


def item_statistics(items: Sequence[str], time: datetime, total: int = 1) -> pl.DataFrame:
    """A snapshot: every item with the same numbers, `total` telling one snapshot from another."""
    counts = ("interactions_total", "interactions_7d", "interactions_30d", "users_total")
    return pl.DataFrame({"item_id": pl.Series(items, dtype=pl.String)}).with_columns(
        *(pl.lit(total, pl.Int64).alias(name) for name in counts),
        mean_value=pl.lit(3.5, pl.Float64),
        popularity_decayed=pl.lit(float(total), pl.Float64),
        days_since_first=pl.lit(2.0, pl.Float64),
        days_since_last=pl.lit(0.5, pl.Float64),
        event_timestamp=pl.lit(time, TIME),
    )
