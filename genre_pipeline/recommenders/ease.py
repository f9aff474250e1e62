"""EASE: the best linear item-to-item weights, in closed form."""

from copy import copy
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import linalg, sparse

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import recency_weighted_histories


class EaseConfig(Settings):
    """Embarrassingly Shallow Autoencoders (Steck, WWW 2019)."""

    regularisation: float = Field(default=200.0, gt=0)
    """The ridge λ on the item-item Gram matrix."""
    max_items: int = Field(default=8_000, ge=1)
    """The Gram matrix is dense: only so many of the most taken items take part, the others score 0."""
    half_life_items: float | None = Field(default=None, gt=0)
    """At scoring, an item of the history counts half for every so many newer ones; None weighs all alike."""


class EaseRecommender(Recommender):
    """Scores are the user's history times B, where B = I - P / diag(P) and P = (XᵀX + λI)⁻¹."""

    name: ClassVar[str] = "ease"

    def __init__(self, config: EaseConfig) -> None:
        self.config: EaseConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """One Cholesky inversion of [items, items], float32. Raises `TrainingError` where float32 is too coarse."""
        counts = np.asarray((data.matrix > 0).sum(axis=0)).ravel()
        most_taken = np.lexsort((np.arange(len(counts)), -counts))[: self.config.max_items]
        self.columns = np.sort(most_taken[counts[most_taken] > 0])
        self.n_items = data.n_items
        self.histories = recency_weighted_histories(data, self.config.half_life_items)[:, self.columns]
        self.weights = _closed_form(data.matrix[:, self.columns], self.config.regularisation)
        return self

    def enriched(self, data: TrainingSet) -> Self:
        """The weights stay; histories gain the synthetic items."""
        if data.synthetic is None:
            return self
        other = copy(self)
        other.histories = recency_weighted_histories(data, self.config.half_life_items)[:, self.columns]
        return other

    def score(self, users: np.ndarray) -> np.ndarray:
        """Any sign; 0 for items that took no part."""
        scores = np.zeros((len(users), self.n_items), dtype=np.float32)
        scores[:, self.columns] = self.histories[users] @ self.weights
        return scores


def _closed_form(matrix: sparse.csr_matrix, regularisation: float) -> np.ndarray:
    gram = np.asarray((matrix.T @ matrix).todense(), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += regularisation
    # potri inverts in place from the Cholesky factor: half the work and memory of a general inverse.
    factor, failed = linalg.lapack.spotrf(gram, lower=False, overwrite_a=True)
    upper, singular = linalg.lapack.spotri(factor, lower=False, overwrite_c=True)
    if failed or singular:
        raise TrainingError(
            f"EASE cannot invert its Gram matrix with regularisation {regularisation:g}",
            remedy="Raise `recommenders.ease.regularisation`, or lower the largest of `event_weights`.",
        )
    inverse = np.triu(upper) + np.triu(upper, 1).T
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return np.asarray(weights, dtype=np.float32)
