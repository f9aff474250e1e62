"""Nearest items by cosine: exact, in blocks, with a stated rule for ties."""

from typing import TYPE_CHECKING

import dataframely as dy
import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, RANK, SCORE
from genre_pipeline.contracts.tables import SimilarItems

if TYPE_CHECKING:
    from torch import Tensor

_SCORES_AT_ONCE = 2**26
"""A block holds at most so many scores: 256 MiB of float32, however large the catalogue."""


def similar_items(
    vectors: np.ndarray, is_candidate: np.ndarray, k: int, block: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest candidates of every item, itself left out: (positions int64 [n, k], cosines float32 [n, k]).

    `vectors` are float32 [n, d] with rows of length 1, all zero where the modality is missing: such an item has no
    neighbours and is nobody's. `is_candidate`, bool [n], says who may be a neighbour; every item is asked for. Rows are
    in order of score, equal scores by the smaller position, also where the list is cut; a list with fewer than `k`
    ends in position -1 and score 0. At most `block` items are scored at once, fewer where the catalogue is large.
    """
    import torch

    n = len(vectors)
    indices, scores = np.full((n, k), -1, dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    columns = np.flatnonzero(is_candidate & vectors.any(axis=1))
    asking = np.flatnonzero(vectors.any(axis=1))
    width = min(k, len(columns))
    if width == 0:
        return indices, scores
    targets = torch.from_numpy(np.ascontiguousarray(vectors[columns], dtype=np.float32)).T  # [d, c]
    rows_at_once = max(1, min(block, _SCORES_AT_ONCE // len(columns)))
    buffer = torch.empty((rows_at_once, len(columns)))
    column_of = np.full(n, -1, dtype=np.int64)
    column_of[columns] = np.arange(len(columns))
    for start in range(0, len(asking), rows_at_once):
        rows = asking[start : start + rows_at_once]
        block_scores = buffer[: len(rows)]
        torch.matmul(torch.from_numpy(np.ascontiguousarray(vectors[rows], dtype=np.float32)), targets, out=block_scores)
        _hide_self(block_scores, column_of[rows])
        best, where = _top(block_scores, width)
        found = np.isfinite(best)
        indices[rows, :width] = np.where(found, columns[where], -1)
        scores[rows, :width] = np.where(found, best, 0)
    return indices, scores


def similar_items_table(item_ids: pl.Series, indices: np.ndarray, scores: np.ndarray) -> dy.DataFrame[SimilarItems]:
    """The lists of `similar_items` in long form, schema SimilarItems, in the order of `item_ids`; rank starts at 1."""
    rows, ranks = np.nonzero(indices >= 0)
    table = pl.DataFrame(
        {
            ITEM_ID: item_ids.gather(rows),
            "similar_item_id": item_ids.gather(indices[rows, ranks]),
            RANK: pl.Series(ranks + 1, dtype=pl.UInt32),
            SCORE: scores[rows, ranks],
        }
    )
    return SimilarItems.validate(table)


def _hide_self(scores: "Tensor", columns: np.ndarray) -> None:
    rows = np.flatnonzero(columns >= 0)
    scores[rows, columns[rows]] = -np.inf


def _top(scores: "Tensor", k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of each row of [b, c]: (scores [b, k], columns [b, k]); equal scores in order of column."""
    import torch

    best, where = torch.topk(scores, k, dim=1)
    # topk may take any of the equal scores at the cut: where more reach the last one's score, ask again, stably.
    reach = (scores >= best[:, -1:]).sum(dim=1)
    tied = torch.nonzero(reach > k).ravel()
    if len(tied):
        again, columns = torch.sort(scores[tied], dim=1, descending=True, stable=True)
        best[tied], where[tied] = again[:, :k], columns[:, :k]
    best_of, where_of = best.numpy(), where.numpy()
    order = np.lexsort((where_of, -best_of), axis=1)
    return np.take_along_axis(best_of, order, 1), np.take_along_axis(where_of, order, 1)
