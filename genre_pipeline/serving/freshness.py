"""A user's features after new events: the nightly rules of `features`, applied to what just happened. Pure.

A late event lands where its time says. Every row carries the latest time known of its user, so that the guarded online
store takes it and a late event never makes a row look older than it is.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import EVENT, ITEM_ID, TIMESTAMP, USER_ID, VALUE, VECTOR
from genre_pipeline.contracts.names import USER_HISTORIES, USER_STATISTICS, USER_VECTORS
from genre_pipeline.features.histories import HistoryConfig, append_events, user_vectors
from genre_pipeline.features.statistics import bump_statistics
from genre_pipeline.serving.published import PublishedRun

_INTERACTION = [USER_ID, ITEM_ID, TIMESTAMP, EVENT, VALUE]


def refreshed_features(
    run: PublishedRun,
    events: pl.DataFrame,
    histories: pl.DataFrame,
    statistics: pl.DataFrame,
    *,
    config: HistoryConfig,
    has_clock: bool = True,
) -> Mapping[str, pl.DataFrame]:
    """View name to rows for every user of `events` (event log columns), in the order in which to write them.

    `histories` and `statistics` are those users' rows as they stand. Events a history already holds change nothing, so
    that a retry is harmless; where the run has no item matrix the vectors stay as they are.
    """
    interactions = events.select(_INTERACTION)
    after = append_events(histories, interactions, config)
    rows: dict[str, pl.DataFrame] = {}
    if run.vector_model is not None:
        vectors = item_vectors_of(run, after["item_ids"].explode().unique())
        rows[USER_VECTORS] = user_vectors(after, vectors, model=run.vector_model, config=config, has_clock=has_clock)
    rows[USER_HISTORIES] = after
    news = _not_in(histories, interactions)
    if not news.is_empty():
        rows[USER_STATISTICS] = bump_statistics(statistics, news, histories)
    return rows


def item_vectors_of(run: PublishedRun, item_ids: pl.Series) -> pl.DataFrame:
    """item_id, model, vector List(Float32) of those items that have a vector in the run, as the night has them."""
    positions = run.positions_of(item_ids.drop_nulls().to_list())
    positions = positions[run.vectors[positions].any(axis=1)]
    if not len(positions):
        return pl.DataFrame(schema={ITEM_ID: pl.String, "model": pl.String, VECTOR: pl.List(pl.Float32)})
    vectors = run.vectors[positions] * run.norms[positions, np.newaxis]
    return pl.DataFrame(
        {
            ITEM_ID: [run.item_ids[at] for at in positions],
            "model": [run.vector_model] * len(positions),
            VECTOR: pl.Series(vectors).arr.to_list(),
        }
    )


def _not_in(histories: pl.DataFrame, interactions: pl.DataFrame) -> pl.DataFrame:
    held = (
        histories.select(USER_ID, "item_ids", "timestamps", "events")
        .explode("item_ids", "timestamps", "events")
        .rename({"item_ids": ITEM_ID, "timestamps": "second", "events": EVENT})
    )
    keyed = interactions.with_columns(pl.col(TIMESTAMP).dt.epoch("s").alias("second"))
    return keyed.join(held, on=[USER_ID, ITEM_ID, "second", EVENT], how="anti").select(_INTERACTION)
