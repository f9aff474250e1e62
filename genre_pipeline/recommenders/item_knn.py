"""Item-to-item neighbours from co-occurrence: who took this also took that."""

from copy import copy
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import recency_weighted_histories

ITEM_BLOCK = 2048


class ItemKnnConfig(Settings):
    """Neighbourhood collaborative filtering (Sarwar et al., WWW 2001), TF-IDF weighted, recent items first."""

    neighbours: int = Field(default=200, ge=1)
    """Nearest items kept for each item."""
    weighting: Literal["cosine", "tfidf"] = "tfidf"
    """tfidf damps users who take everything, as a document's common words are damped."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the denominator, so that two items with one common user are not twins."""
    half_life_items: float | None = Field(default=10.0, gt=0)
    """An item of the user's history counts half for every so many newer ones; None weighs all alike."""


class ItemKnnRecommender(Recommender):
    """A user's score for an item is the sum of its similarities to the recency-weighted history."""

    name: ClassVar[str] = "item_knn"

    def __init__(self, config: ItemKnnConfig) -> None:
        self.config: ItemKnnConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Similarities in blocks of items; memory is bounded by a block and the kept neighbours."""
        self.histories = recency_weighted_histories(data, self.config.half_life_items)
        self.similarities = _neighbours(_weighted(data.matrix, self.config.weighting), self.config)
        return self

    def enriched(self, data: TrainingSet) -> Self:
        """The weights stay; histories gain the synthetic items."""
        if data.synthetic is None:
            return self
        other = copy(self)
        other.histories = recency_weighted_histories(data, self.config.half_life_items)
        return other

    def score(self, users: np.ndarray) -> np.ndarray:
        """Non-negative; 0 where no item of the history is a neighbour."""
        return np.asarray((self.histories[users] @ self.similarities).todense(), dtype=np.float32)


def _weighted(matrix: sparse.csr_matrix, weighting: str) -> sparse.csr_matrix:
    if weighting == "cosine":
        return matrix
    lengths = np.maximum(np.diff(matrix.indptr), 1)
    idf = np.log1p(matrix.shape[1] / lengths).astype(np.float32)
    return sparse.diags(idf) @ matrix


def _neighbours(matrix: sparse.csr_matrix, config: ItemKnnConfig) -> sparse.csr_matrix:
    columns = matrix.tocsc()
    norms = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
    transposed = columns.T.tocsr()
    blocks = []
    for start in range(0, columns.shape[1], ITEM_BLOCK):
        dots = (transposed[start : start + ITEM_BLOCK] @ columns).tocsr()
        rows = np.repeat(np.arange(dots.shape[0]), np.diff(dots.indptr)) + start
        dots.data /= norms[rows] * norms[dots.indices] + config.shrinkage
        dots.data[rows == dots.indices] = 0.0
        blocks.append(_keep_best(dots, config.neighbours))
    return sparse.vstack(blocks, format="csr", dtype=np.float32)


def _keep_best(rows: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The `n` largest entries of each row; equal entries go to the smaller column."""
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, -rows.data, row_of))
    place = np.arange(len(order)) - rows.indptr[row_of[order]]
    kept = order[(place < n) & (rows.data[order] > 0)]
    return sparse.csr_matrix((rows.data[kept], (row_of[kept], rows.indices[kept])), shape=rows.shape)
