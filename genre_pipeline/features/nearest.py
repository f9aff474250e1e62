"""Nearest items by cosine: exact in blocks, approximate where a catalogue is large, with a stated rule for ties.

The approximate search is product quantisation scanned in registers (André, Kermarrec and Le Scouarnec 2015, VLDB 9),
whose finds are then scored exactly: it keeps its recall on weakly clustered vectors, where cells and graphs do not.
"""

from typing import TYPE_CHECKING

import dataframely as dy
import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import ITEM_ID, RANK, SCORE
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import SimilarItems

if TYPE_CHECKING:
    from torch import Tensor

_SCORES_AT_ONCE = 2**26
"""A block holds at most so many scores: 256 MiB of float32, however large the catalogue."""
_TRAINED_ON = 32_768
"""Vectors that an index learns its codebooks from: 16 entries for each pair of numbers."""


class NearestConfig(Settings):
    """When nearest items are looked for exactly, and how hard otherwise."""

    exact_below: int = Field(default=100_000, ge=1_000)
    """Catalogues with fewer candidates than this are searched exactly; larger ones through an index (faiss)."""
    refine: int = Field(default=16, ge=1)
    """Finds of the index that are scored exactly, for each neighbour that is wanted: more is slower and nearer to
    exact."""


def similar_items(
    vectors: np.ndarray, is_candidate: np.ndarray, k: int, block: int = 1024, *, config: NearestConfig | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest candidates of every item, itself left out: (positions int64 [n, k], cosines float32 [n, k]).

    `vectors` are float32 [n, d] with rows of length 1, all zero where the modality is missing: such an item has no
    neighbours and is nobody's. `is_candidate`, bool [n], says who may be a neighbour; every item is asked for. Rows are
    in order of score, equal scores by the smaller position, in exact search also where the list is cut; a list with
    fewer than `k` ends in position -1 and score 0. At most `block` items are scored at once, fewer where the catalogue
    is large.
    """
    n, config = len(vectors), config or NearestConfig()
    indices, scores = np.full((n, k), -1, dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    columns = np.flatnonzero(is_candidate & vectors.any(axis=1))
    asking = np.flatnonzero(vectors.any(axis=1))
    width = min(k, len(columns))
    if width == 0:
        return indices, scores
    is_exact = len(columns) < config.exact_below
    search = _Exact(vectors, columns, block) if is_exact else _Index(vectors, columns, config.refine)
    for start in range(0, len(asking), search.rows_at_once):
        rows = asking[start : start + search.rows_at_once]
        best, where = search.nearest(rows, width)
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


class NearestSearch:
    """Nearest candidates of any vectors, asked for one answer at a time: exact, or through an index where there are
    many. Built once for a catalogue, then only read.
    """

    def __init__(self, vectors: np.ndarray, is_candidate: np.ndarray, config: NearestConfig | None = None) -> None:
        config = config or NearestConfig()
        columns = np.flatnonzero(is_candidate & vectors.any(axis=1)) if vectors.shape[1] else np.empty(0, np.int64)
        self._vectors = vectors
        self._index = None if len(columns) < config.exact_below else _Index(vectors, columns, config.refine)

    def nearest(self, queries: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
        """int64: positions of the `k` items, among `allowed` (bool [items]), with the largest cosine to any query.

        `queries` is float32 [q, width], rows of length 1. Items no nearer than a right angle are left out; through an
        index, items that are not allowed may take the places of others.
        """
        if k == 0 or not self._vectors.shape[1]:
            return np.empty(0, dtype=np.int64)
        if self._index is not None:
            best, where = self._index.search(queries, k)
            found, best_of = where.ravel(), best.ravel()
            at = found[(found >= 0) & (best_of > 0)]
            at = np.unique(at[allowed[at]])
            cosine = (self._vectors[at] @ queries.T).max(axis=1, initial=-np.inf)
        else:
            cosine = _nearest_cosines(self._vectors, queries)
            at = np.flatnonzero(allowed & (cosine > 0))
            cosine = cosine[at]
        return at if len(at) <= k else at[np.argpartition(-cosine, k - 1)[:k]]


def _nearest_cosines(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """float32 [items]: the largest cosine to any query. torch reads the matrix once for all of them, numpy twice."""
    import torch

    every = torch.from_numpy(vectors) @ torch.from_numpy(np.ascontiguousarray(queries.T))  # [items, q]
    return np.asarray(every.amax(dim=1).numpy())


class _Exact:
    """Every score of a block, in a buffer that is used again."""

    def __init__(self, vectors: np.ndarray, columns: np.ndarray, block: int) -> None:
        import torch

        self._vectors = vectors
        self._targets = torch.from_numpy(_rows(vectors, columns)).T  # [d, c]
        self.rows_at_once = max(1, min(block, _SCORES_AT_ONCE // len(columns)))
        self._buffer = torch.empty((self.rows_at_once, len(columns)))
        self._column_of = _places(len(vectors), columns)

    def nearest(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of items `rows`: (scores [b, k], columns [b, k]); -inf where there are not so many."""
        import torch

        scores = self._buffer[: len(rows)]
        torch.matmul(torch.from_numpy(_rows(self._vectors, rows)), self._targets, out=scores)
        own = self._column_of[rows]
        at = np.flatnonzero(own >= 0)
        scores[at, own[at]] = -np.inf
        return _top(scores, k)


class _Index:
    """Product quantisation of two numbers in four bits, then exact scores of what it finds."""

    rows_at_once = 4096

    def __init__(self, vectors: np.ndarray, columns: np.ndarray, refine: int) -> None:
        import faiss

        # Pairs of numbers are quantised: an odd one out gets a partner that is always 0.
        self._vectors = vectors if vectors.shape[1] % 2 == 0 else np.pad(vectors, ((0, 0), (0, 1)))
        width = self._vectors.shape[1]
        self._codes = faiss.IndexPQFastScan(width, width // 2, 4, faiss.METRIC_INNER_PRODUCT)
        self._index = faiss.IndexRefineFlat(self._codes)
        self._index.k_factor = float(refine)
        targets = _rows(self._vectors, columns)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # with more, the codebooks depend on who is done first
        self._index.train(targets[:: max(1, len(targets) // _TRAINED_ON)])
        faiss.omp_set_num_threads(threads)
        self._index.add(targets)
        self._column_of = _places(len(vectors), columns)
        self._columns = columns

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of any vectors: (cosines [q, k], item positions [q, k], -1 where there are not so many)."""
        widened = np.pad(queries, ((0, 0), (0, self._vectors.shape[1] - queries.shape[1])))
        best, where = self._index.search(np.ascontiguousarray(widened, dtype=np.float32), min(k, len(self._columns)))
        return best, np.where(where < 0, -1, self._columns[where])

    def nearest(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `_Exact.nearest`; scores are exact, and a neighbour may be missed."""
        best, where = self._index.search(_rows(self._vectors, rows), k + 1)
        best = np.where((where < 0) | (where == self._column_of[rows][:, None]), -np.inf, best).astype(np.float32)
        return _in_order(best, np.maximum(where, 0), k)


def _rows(vectors: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors[at], dtype=np.float32)


def _places(n: int, columns: np.ndarray) -> np.ndarray:
    """int64 [n]: the column of each item, -1 where it is no candidate."""
    places = np.full(n, -1, dtype=np.int64)
    places[columns] = np.arange(len(columns))
    return places


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
    return _in_order(best.numpy(), where.numpy(), k)


def _in_order(best: np.ndarray, where: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `k` of each row by score, equal scores by column."""
    order = np.lexsort((where, -best), axis=1)[:, :k]
    return np.take_along_axis(best, order, 1), np.take_along_axis(where, order, 1)
