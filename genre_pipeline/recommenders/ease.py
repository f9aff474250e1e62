"""EASE: the best linear item-to-item weights, in closed form."""

from typing import ClassVar, Self

import numpy as np
from scipy import linalg

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import recency_weighted_histories


class EaseConfig(Settings):
    """Embarrassingly Shallow Autoencoders (Steck, WWW 2019)."""

    regularisation: float = 200.0
    """The ridge λ on the item-item Gram matrix."""
    max_items: int = 8_000
    """The Gram matrix is dense: only so many of the most taken items take part, the others score 0."""
    half_life_items: float | None = None
    """At scoring, an item of the history counts half for every so many newer ones; None weighs all alike."""


class EaseRecommender(Recommender):
    """Scores are the user's history times B, where B = I - P / diag(P) and P = (XᵀX + λI)⁻¹."""

    name: ClassVar[str] = "ease"

    def __init__(self, config: EaseConfig) -> None:
        self.config = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """One Cholesky inversion of [items, items], float32."""
        counts = np.asarray((data.matrix > 0).sum(axis=0)).ravel()
        most_taken = np.lexsort((np.arange(len(counts)), -counts))[: self.config.max_items]
        self.columns = np.sort(most_taken[counts[most_taken] > 0])
        self.n_items = data.n_items
        self.histories = recency_weighted_histories(data, self.config.half_life_items)[:, self.columns]
        self.weights = _closed_form(data.matrix[:, self.columns], self.config.regularisation)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """Any sign; 0 for items that took no part."""
        scores = np.zeros((len(users), self.n_items), dtype=np.float32)
        scores[:, self.columns] = self.histories[users] @ self.weights
        return scores


def _closed_form(matrix: object, regularisation: float) -> np.ndarray:
    gram = np.asarray((matrix.T @ matrix).todense(), dtype=np.float32)  # type: ignore[attr-defined]
    gram[np.diag_indices_from(gram)] += regularisation
    # potri inverts in place from the Cholesky factor: half the work and memory of a general inverse.
    factor, _ = linalg.lapack.spotrf(gram, lower=False, overwrite_a=True)
    upper, _ = linalg.lapack.spotri(factor, lower=False, overwrite_c=True)
    inverse = np.triu(upper) + np.triu(upper, 1).T
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return weights.astype(np.float32, copy=False)
