"""A recommender's nDCG on a validation window, over all users and in each segment that promotion guards."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.validation import Validation, ranked
from genre_pipeline.training.promotion import EVERYBODY, SEGMENT, PromotionConfig


def segment_scores(
    recommender: Recommender, data: TrainingSet, validation: Validation, config: PromotionConfig
) -> pl.DataFrame:
    """user_id, segment (`all` and those that have anybody), ndcg (Float64): what `decide_promotion` compares.

    Every list ranks the whole catalogue. Users belong to `light` or `heavy` by their history; in `head`, `tail` and
    `cold` only those wanted items count that are in the segment, and only users who wanted one.
    """
    where, is_real = ranked(recommender, data, validation)
    users = data.user_ids.gather(validation.users)
    parts = []
    for name, part, rows in _segments(data, validation, config):
        if not len(rows):
            continue
        ndcg = part.ndcg(rows, where[rows], is_real[rows])
        parts.append(pl.DataFrame({USER_ID: users.gather(rows), SEGMENT: [name] * len(rows), "ndcg": ndcg}))
    return pl.concat(parts)


def _segments(
    data: TrainingSet, validation: Validation, config: PromotionConfig
) -> Iterator[tuple[str, Validation, np.ndarray]]:
    """Name, what counts as wanted, and the rows of the validation's users."""
    everybody = np.arange(len(validation.users))
    lengths = data.history_lengths[validation.users]
    yield EVERYBODY, validation, everybody
    yield "light", validation, everybody[lengths <= config.light_history]
    yield "heavy", validation, everybody[lengths > config.heavy_history]
    for name, items in _item_segments(data, config.head_share).items():
        taken = validation.taken @ sparse.diags_array(items.astype(np.float32))
        counts = np.asarray(taken.sum(axis=1)).ravel().astype(np.int64)
        yield name, Validation(validation.users, taken.tocsr().astype(bool), counts), everybody[counts > 0]


def _item_segments(data: TrainingSet, head_share: float) -> dict[str, np.ndarray]:
    """bool [n_items] by name; ties in popularity go to the smaller position."""
    counts = np.bincount(data.matrix.indices, minlength=data.n_items)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    is_head = np.zeros(data.n_items, dtype=bool)
    is_head[order] = before < head_share * counts.sum()
    is_head &= counts > 0
    return {"head": is_head, "tail": (counts > 0) & ~is_head, "cold": counts == 0}
