"""Why an item is in a list, in words a person can read: from the data that put it there, by template."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import ITEM_ID, ITEM_INDEX, REASONS, TITLE, USER_ID, USER_INDEX
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import user_blocks
from genre_pipeline.recommenders.hybrid import Blend

BY_PART: Mapping[str, str] = {
    "popularity": "Popular right now",
    "content": "Close in content to what you take",
    "item_knn": "Taken together with items of yours",
    "ease": "Taken by people with your taste",
    "rp3beta": "Taken together with items of yours",
    "als": "Taken by people with your taste",
    "bpr": "Taken by people with your taste",
    "sequential": "Often comes next after what you took last",
}
COLD = BY_PART["popularity"]
"""For users without a history, whose list is the popular one."""
REST = "New to you"
"""For what fills the end of a list when no recommender has an opinion."""
PAIR_BLOCK = 32_768
"""Pairs of a listed and a had item that are compared at once: bounds memory by this and the vectors' width."""
_COLD_ROW, _REST_ROW = -1, -2


class ReasonsConfig(Settings):
    """When the nearest item of a user's own history is worth naming."""

    vectors: str = "text_llm"
    """Technique whose cosine says how near two items are."""
    min_similarity: float = Field(default=0.4, ge=-1, le=1)
    """Cosine below which no item of the history is named."""
    history: int = Field(default=50, ge=1)
    """How many of the newest items of a history are compared."""


def with_reasons(
    recommendations: pl.DataFrame,
    hybrid: Blend,
    data: TrainingSet,
    items: pl.DataFrame,
    config: ReasonsConfig,
) -> pl.DataFrame:
    """`recommendations` (schema `Recommendations`) and the column `reasons`, List(String), never empty.

    First the nearest item of the user's history, where it is near; then what carried most of the score.
    """
    users, listed = data.user_positions(recommendations[USER_ID]), data.item_positions(recommendations[ITEM_ID])
    known = np.flatnonzero(users >= 0)
    nearest = np.full(len(users), -1, dtype=np.int64)
    strongest = np.full(len(users), _COLD_ROW, dtype=np.int64)
    for block in _whole_users(users[known]):
        rows = known[block]
        nearest[rows] = _nearest_in_history(users[rows], listed[rows], data, config)
        strongest[rows] = _strongest_part(users[rows], listed[rows], hybrid)
    return recommendations.with_columns(_sentences(nearest, strongest, hybrid, data, items).alias(REASONS))


def _whole_users(users: np.ndarray) -> list[np.ndarray]:
    """Row numbers in runs of about 256 users; the rows of a user lie together."""
    changes = np.flatnonzero(np.diff(users)) + 1
    starts = np.concatenate([[0], changes]) if len(users) else np.empty(0, dtype=np.int64)
    ends = np.append(starts[1:], len(users))
    return [np.arange(starts[block[0]], ends[block[-1]]) for block in user_blocks(np.arange(len(starts)))]


def _strongest_part(users: np.ndarray, listed: np.ndarray, hybrid: Blend) -> np.ndarray:
    """int64 [rows]: which part of the blend gave most, `_REST_ROW` where none gave anything."""
    distinct, row_of = np.unique(users, return_inverse=True)
    place = _places(row_of)
    grid = np.zeros((len(distinct), int(place.max()) + 1), dtype=np.int64)
    grid[row_of, place] = listed
    given = hybrid.contributions(distinct, grid)
    best = np.where(given.max(axis=2) > 0, given.argmax(axis=2), _REST_ROW)
    return np.asarray(best[row_of, place])


def _nearest_in_history(users: np.ndarray, listed: np.ndarray, data: TrainingSet, config: ReasonsConfig) -> np.ndarray:
    """int64 [rows]: position of the nearest item of the user's newest history, -1 where none is near."""
    vectors = data.item_vectors.get(config.vectors)
    if vectors is None or not vectors.shape[1]:
        return np.full(len(users), -1, dtype=np.int64)
    histories = _newest(data, np.unique(users), config.history)
    pairs = pl.DataFrame({USER_INDEX: users, "listed": listed, "row": np.arange(len(users))}).join(
        histories, on=USER_INDEX, how="inner"
    )
    near = _cosines(vectors, pairs["listed"].to_numpy(), pairs[ITEM_INDEX].to_numpy())
    found = (
        pairs.with_columns(pl.Series("near", near))
        .filter(pl.col("near") >= config.min_similarity)
        .sort("row", "near", ITEM_INDEX, descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    nearest = np.full(len(users), -1, dtype=np.int64)
    nearest[found["row"].to_numpy()] = found[ITEM_INDEX].to_numpy()
    return nearest


def _cosines(vectors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32 [pairs]: of rows of length 1."""
    cosines = np.empty(len(one), dtype=np.float32)
    for start in range(0, len(one), PAIR_BLOCK):
        block = slice(start, start + PAIR_BLOCK)
        np.einsum("ij,ij->i", vectors[one[block]], vectors[other[block]], out=cosines[block])
    return cosines


def _newest(data: TrainingSet, users: np.ndarray, length: int) -> pl.DataFrame:
    mine = data.events.filter(pl.col(USER_INDEX).is_in(users))
    newest = mine.unique([USER_INDEX, ITEM_INDEX], keep="last", maintain_order=True).group_by(USER_INDEX).tail(length)
    return newest.select(pl.col(USER_INDEX).cast(pl.Int64), pl.col(ITEM_INDEX).cast(pl.Int64))


def _sentences(
    nearest: np.ndarray, strongest: np.ndarray, hybrid: Blend, data: TrainingSet, items: pl.DataFrame
) -> pl.Series:
    titles = pl.DataFrame({ITEM_ID: data.item_ids}).join(
        items.select(ITEM_ID, TITLE), on=ITEM_ID, how="left", maintain_order="left"
    )[TITLE]
    # The last two entries are `_REST_ROW` and `_COLD_ROW`, counted from the end.
    parts = np.array([*(BY_PART[name] for name in hybrid.parts), REST, COLD])
    near = titles.gather(pl.Series(nearest).replace(-1, None))
    rows = pl.DataFrame({"near": near, "part": pl.Series(parts[strongest], dtype=pl.String)})
    like = pl.format("Because you took “{}”", pl.col("near"))
    return rows.select(pl.concat_list(like, "part").list.drop_nulls().alias(REASONS))[REASONS]


def _places(row_of: np.ndarray) -> np.ndarray:
    """int64 [rows]: the running number of each row inside its group; groups lie together."""
    starts = np.flatnonzero(np.concatenate([[True], row_of[1:] != row_of[:-1]]))
    return np.arange(len(row_of)) - np.repeat(starts, np.diff(np.append(starts, len(row_of))))
