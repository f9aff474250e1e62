"""What a user had, oldest to newest, and the vector that sums it up: computed nightly, extended event by event.

The same rules hold in both: time order, equal seconds in the order in which the rows came, an exact repeat (same item,
second and event) counted once, the latest `length` kept. So a history with a day's events appended equals the next
night's.
"""

from datetime import datetime

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.columns import EVENT, EVENT_TIMESTAMP, ITEM_ID, TIMESTAMP, USER_ID, VECTOR
from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import TIME
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.vector_column import to_column, to_matrix

_SECONDS_PER_DAY = 86_400
_LISTS = {"item_ids": ITEM_ID, "timestamps": TIMESTAMP, "events": EVENT}
_ROWS = [USER_ID, ITEM_ID, TIMESTAMP, EVENT]


class HistoryConfig(Settings):
    """How much of a user's past is kept, and how fast it fades in the user's vector."""

    length: int = Field(default=50, ge=1)
    """The latest so many interactions are kept."""
    half_life_days: float = Field(default=30.0, gt=0)
    """An interaction so many days older than the newest counts half in the user's vector; for data with a clock."""
    half_life_positions: float = Field(default=10.0, gt=0)
    """An interaction so many places before the newest counts half; for data that knows an order only."""


def user_histories(
    interactions: pl.DataFrame | pl.LazyFrame, *, as_of: datetime, config: HistoryConfig | None = None
) -> pl.DataFrame:
    """One row a user with an interaction before `as_of`, sorted by user_id.

    Columns: user_id, event_timestamp (= as_of), item_ids List(String) oldest to newest, timestamps List(Int64, unix
    seconds), events List(String). Equal timestamps keep the order of `interactions`.
    """
    config = config or HistoryConfig()
    known = interactions.lazy().filter(pl.col(TIMESTAMP) < as_of)
    stamp = pl.lit(as_of).cast(TIME).alias(EVENT_TIMESTAMP)
    return _folded(_in_seconds(known), config.length).select(USER_ID, stamp, *_LISTS).collect()


def append_events(histories: pl.DataFrame, events: pl.DataFrame, config: HistoryConfig | None = None) -> pl.DataFrame:
    """Histories after new events (schema Interactions), late ones put where their time says; sorted by user_id.

    A row for every user of either frame; `event_timestamp` is the latest of the old one and the user's events, so that
    a late event never makes a row look older. Appending the same events again changes nothing: for that, an event in
    or before the oldest second of a full history counts as one that the history has let go.
    """
    config = config or HistoryConfig()
    old = histories.lazy().select(USER_ID, *(pl.col(name).alias(row) for name, row in _LISTS.items()))
    old = old.explode(ITEM_ID, TIMESTAMP, EVENT).drop_nulls(ITEM_ID)
    full = histories.lazy().filter(pl.col("item_ids").list.len() >= config.length)
    oldest = full.select(USER_ID, pl.col("timestamps").list.min().alias("oldest"))
    new = _in_seconds(events.lazy()).join(oldest, on=USER_ID, how="left", maintain_order="left")
    new = new.filter((pl.col(TIMESTAMP) > pl.col("oldest")).fill_null(True)).drop("oldest")
    rows = pl.concat([old, new]).sort(USER_ID, TIMESTAMP, maintain_order=True)
    times = pl.concat(
        [
            histories.lazy().select(USER_ID, EVENT_TIMESTAMP),
            events.lazy().select(USER_ID, pl.col(TIMESTAMP).alias(EVENT_TIMESTAMP)),
        ]
    )
    latest = times.group_by(USER_ID).agg(pl.col(EVENT_TIMESTAMP).max())
    merged = latest.join(_folded(rows, config.length), on=USER_ID, how="left")
    lists = [pl.col(name).fill_null(pl.lit([], dtype=histories.schema[name])) for name in _LISTS]
    return merged.select(USER_ID, EVENT_TIMESTAMP, *lists).sort(USER_ID).collect()


def user_vectors(
    histories: pl.DataFrame,
    item_vectors: pl.DataFrame,
    *,
    model: str,
    config: HistoryConfig | None = None,
    has_clock: bool = True,
) -> pl.DataFrame:
    """The recency-weighted mean of each history's item vectors, scaled to length 1, in the order of `histories`.

    Columns: user_id, event_timestamp, model, vector List(Float32), null where no item of the history has a vector.
    An interaction weighs 0.5^(distance from the user's newest / half-life), the distance in days, or in places where
    the data has no clock. `item_vectors` are in schema ItemVectors; those of `model` are taken.

    Raises:
        ContractError: there are item vectors, but none of `model`.
    """
    config = config or HistoryConfig()
    of_model = item_vectors.filter(pl.col("model") == model)
    if of_model.is_empty() and not item_vectors.is_empty():
        raise ContractError(
            f"No item vector is of the model {model!r}",
            remedy="Encode the items with it first, or name the model that they were encoded with.",
            culprits=item_vectors["model"].unique().sort().to_list(),
        )
    had = histories.select(pl.col("item_ids").alias(ITEM_ID)).explode(ITEM_ID).unique()
    # Online a single user is asked for: only the rows that count are turned into a matrix.
    known = of_model.drop_nulls(VECTOR).join(had, on=ITEM_ID, how="semi", maintain_order="left")
    vectors = _weights(histories, known[ITEM_ID], config, has_clock) @ to_matrix(known[VECTOR])
    return histories.select(USER_ID, EVENT_TIMESTAMP, pl.lit(model).alias("model"), to_column(l2_normalise(vectors)))


def _in_seconds(interactions: pl.LazyFrame) -> pl.LazyFrame:
    ordered = interactions.sort(USER_ID, TIMESTAMP, maintain_order=True)
    return ordered.select(USER_ID, ITEM_ID, pl.col(TIMESTAMP).dt.epoch("s"), EVENT)


def _folded(rows: pl.LazyFrame, length: int) -> pl.LazyFrame:
    """Rows (user_id, item_id, timestamp in seconds, event), each user's in time order, to one row a user, sorted."""
    once = rows.unique(_ROWS, keep="first", maintain_order=True)
    lists = [pl.col(row).tail(length).alias(name) for name, row in _LISTS.items()]
    return once.group_by(USER_ID, maintain_order=True).agg(lists).sort(USER_ID)


def _weights(histories: pl.DataFrame, item_ids: pl.Series, config: HistoryConfig, has_clock: bool) -> sparse.csr_matrix:
    """float32 [users, items]: how much each item counts for each user; repeats of an item add up."""
    if has_clock:
        newest = pl.col("timestamps").list.max()
        distance = (newest - pl.col("timestamps")).cast(pl.List(pl.Float64)) / (
            config.half_life_days * _SECONDS_PER_DAY
        )
    else:
        places = pl.int_ranges(pl.col("item_ids").list.len().cast(pl.Int64) - 1, -1, -1)
        distance = places.cast(pl.List(pl.Float64)) / config.half_life_positions
    items = pl.DataFrame({ITEM_ID: item_ids}).with_row_index("column")
    cells = (
        histories.with_row_index("row")
        .select("row", pl.col("item_ids").alias(ITEM_ID), distance.alias("distance"))
        .explode(ITEM_ID, "distance")
        .join(items, on=ITEM_ID, maintain_order="left")
    )
    weight = np.power(0.5, cells["distance"].to_numpy()).astype(np.float32)
    where = (cells["row"].to_numpy(), cells["column"].to_numpy())
    return sparse.csr_matrix((weight, where), shape=(histories.height, len(item_ids)), dtype=np.float32)
