"""Users as weighted histories: the newest items count most. Every history-based recommender starts here."""

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.columns import ITEM_INDEX, TIMESTAMP, USER_INDEX, WEIGHT
from genre_pipeline.contracts.training_set import TrainingSet


def recency_weighted_histories(data: TrainingSet, half_life_items: float | None) -> sparse.csr_matrix:
    """float32 [users, items]: each item's weight, halved for every `half_life_items` newer interactions of the user.

    Counting interactions, not days, works for data sets that know an order only, and for users who come once a year.
    An item taken twice keeps the larger of its decayed weights. `None` weighs the whole history alike. Synthetic items
    keep their weight: they stand for what a short history does not say.
    """
    own = _own_histories(data, half_life_items)
    return own if data.synthetic is None else sparse.csr_matrix(own + data.synthetic)


def age_weighted_matrix(data: TrainingSet, half_life_days: float | None) -> sparse.csr_matrix:
    """float32 [users, items]: each item's weight, halved for every `half_life_days` that it lies back.

    An item taken twice keeps the larger of its decayed weights. `None`, or data without a clock, weighs all time alike.
    """
    if half_life_days is None or not data.has_clock:
        return data.matrix
    age_days = (pl.lit(data.as_of) - pl.col(TIMESTAMP)).dt.total_seconds() / 86_400
    decayed = data.events.select(
        USER_INDEX, ITEM_INDEX, pl.col(WEIGHT) * (0.5 ** (age_days / half_life_days)).cast(pl.Float32)
    )
    return _matrix(decayed, data)


def _own_histories(data: TrainingSet, half_life_items: float | None) -> sparse.csr_matrix:
    if half_life_items is None:
        return data.matrix
    from_end = pl.int_range(pl.len()).reverse().over(USER_INDEX)
    decayed = data.events.select(
        USER_INDEX, ITEM_INDEX, pl.col(WEIGHT) * (0.5 ** (from_end / half_life_items)).cast(pl.Float32)
    )
    return _matrix(decayed, data)


def _matrix(pairs: pl.DataFrame, data: TrainingSet) -> sparse.csr_matrix:
    best = pairs.group_by(USER_INDEX, ITEM_INDEX).agg(pl.col(WEIGHT).max()).sort(USER_INDEX, ITEM_INDEX)
    cells = (best[USER_INDEX].to_numpy(), best[ITEM_INDEX].to_numpy())
    return sparse.csr_matrix((best[WEIGHT].to_numpy(), cells), shape=(data.n_users, data.n_items), dtype=np.float32)
