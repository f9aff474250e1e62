"""Popularity: what everybody takes now. The floor that every personal list has to beat."""

from copy import copy
from datetime import timedelta
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import (
    CATEGORIES,
    ITEM_ID,
    ITEM_INDEX,
    RANK,
    SCORE,
    TIMESTAMP,
    USER_INDEX,
    WEIGHT,
)
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.expected_popularity import with_new_items

_CATEGORY = "category"


class PopularityConfig(Settings):
    """Counts of interactions, the newer the heavier."""

    half_life_days: float | None = Field(default=14.0, gt=0)
    """An interaction's weight is halved every so many days; None counts all time alike."""
    window_days: float | None = Field(default=None, gt=0)
    """Only interactions of the last so many days count; None counts all."""
    last_events: int | None = Field(default=None, ge=1)
    """Only the last so many interactions of all users count; None counts all. Works without a clock."""


class PopularityRecommender(Recommender):
    """Decayed and windowed interaction counts, the same for every user."""

    name: ClassVar[str] = "popularity"

    def __init__(self, config: PopularityConfig) -> None:
        self.config: PopularityConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Count. Days are ignored where the data has no clock."""
        self.scores = self.heard = popularity(data, self.config)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """The same row for every user."""
        return np.repeat(self.scores[None, :], len(users), axis=0)

    def blend_score(self, users: np.ndarray) -> np.ndarray:
        """As `score`, with what is expected of new items (`expecting`)."""
        return np.repeat(self.heard[None, :], len(users), axis=0)

    def expecting(self, demand: np.ndarray, had: np.ndarray) -> Self:
        """The same, which in a blend speaks of items that nobody `had`, bool [items], too: see `with_new_items`."""
        other = copy(self)
        other.heard = with_new_items(self.scores, demand, had)
        return other


def popularity(data: TrainingSet, config: PopularityConfig) -> np.ndarray:
    """float32 [items]: decayed count of distinct (user, item, time) interactions in the window.

    Several events at one time, a view and a purchase, count once, by the largest weight.
    """
    events = data.events
    if config.last_events is not None:
        events = events.sort(TIMESTAMP, maintain_order=True).tail(config.last_events)
    weight = pl.col(WEIGHT)
    if data.has_clock and config.window_days is not None:
        events = events.filter(pl.col(TIMESTAMP) >= data.as_of - timedelta(days=config.window_days))
    if data.has_clock and config.half_life_days is not None:
        age_days = (pl.lit(data.as_of) - pl.col(TIMESTAMP)).dt.total_seconds() / 86_400
        weight = weight * (0.5 ** (age_days / config.half_life_days))
    once = events.group_by(USER_INDEX, ITEM_INDEX, TIMESTAMP, maintain_order=True).agg(pl.col(WEIGHT).max())
    counted = once.select(ITEM_INDEX, weight.cast(pl.Float64))
    # One after the other, in double precision: a sum in another order would end in other bits.
    sums = np.bincount(counted[ITEM_INDEX].to_numpy(), counted[WEIGHT].to_numpy(), minlength=data.n_items)
    return sums.astype(np.float32)


def popular_lists(scores: np.ndarray, data: TrainingSet, items: pl.DataFrame, *, k: int) -> pl.DataFrame:
    """The `k` most popular candidates overall (category "") and in each category, schema `PopularItems`.

    `scores` is float32 [items] as `popularity` gives it. Ties go to the smaller item id; what nobody took is left out.
    """
    ranked = pl.DataFrame({ITEM_ID: data.item_ids, SCORE: scores}).filter(
        pl.Series(data.is_candidate) & (pl.col(SCORE) > 0)
    )
    of_category = ranked.join(items.select(ITEM_ID, CATEGORIES), on=ITEM_ID).explode(CATEGORIES).drop_nulls()
    labelled = [
        ranked.select(pl.lit("").alias(_CATEGORY), ITEM_ID, SCORE),
        of_category.select(pl.col(CATEGORIES).alias(_CATEGORY), ITEM_ID, SCORE).unique(maintain_order=True),
    ]
    ordered = pl.concat(labelled).sort(_CATEGORY, SCORE, ITEM_ID, descending=[False, True, False])
    place = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over(_CATEGORY).alias(RANK)
    return ordered.select(_CATEGORY, ITEM_ID, place, SCORE).filter(pl.col(RANK) <= k)
