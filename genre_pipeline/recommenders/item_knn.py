"""Item-to-item neighbours from co-occurrence: who took this also took that."""

from copy import copy
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import age_weighted_matrix, recency_weighted_histories
from genre_pipeline.recommenders.item_links import keep_best

ITEM_BLOCK = 2048
_BM25_K1, _BM25_B = 1.2, 0.75


class ItemKnnConfig(Settings):
    """Neighbourhood collaborative filtering (Sarwar et al., WWW 2001), weighted, recent items first."""

    neighbours: int = Field(default=200, ge=1)
    """Nearest items kept for each item."""
    weighting: Literal["cosine", "tfidf", "bm25"] = "tfidf"
    """tfidf damps users who take everything, as a document's common words are damped; bm25 damps popular items too, as
    long documents are."""
    half_life_days: float | None = Field(default=None, gt=0)
    """What was taken together long ago counts less: an interaction's say in the similarities is halved every so many
    days; None counts all time alike."""
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
        taken = age_weighted_matrix(data, self.config.half_life_days)
        self.similarities = _neighbours(_weighted(taken, self.config.weighting), self.config)
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
    return sparse.diags(idf) @ (_saturated(matrix) if weighting == "bm25" else matrix)


def _saturated(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """BM25's term frequency (Robertson et al., TREC-3 1994): users are the words of an item, its weight its length."""
    length = np.asarray(matrix.sum(axis=0)).ravel()
    damping = _BM25_K1 * (1 - _BM25_B + _BM25_B * length / max(float(length.mean()), 1e-9))
    saturated = matrix.copy()
    saturated.data = (matrix.data * (_BM25_K1 + 1) / (matrix.data + damping[matrix.indices])).astype(np.float32)
    return saturated


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
        blocks.append(keep_best(dots, config.neighbours))
    return sparse.vstack(blocks, format="csr", dtype=np.float32)
