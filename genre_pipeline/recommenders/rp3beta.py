"""Random walks of three steps over users and items, with popular ends damped."""

from copy import copy
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import age_weighted_matrix, recency_weighted_histories
from genre_pipeline.recommenders.item_links import keep_best

ITEM_BLOCK = 2048


class Rp3BetaConfig(Settings):
    """RP3β (Paudel, Christoffel, Newell and Bernstein, ACM TiiS 2016)."""

    alpha: float = Field(default=1.0, gt=0)
    """Power of each step's probability: below 1 makes steps more alike."""
    beta: float = Field(default=0.4, ge=0)
    """An item's score is divided by its popularity to this power; 0 is the plain walk."""
    neighbours: int = Field(default=200, ge=1)
    """Ends kept for each item that a walk passes."""
    half_life_items: float | None = Field(default=10.0, gt=0)
    """An item of the user's history counts half for every so many newer ones; None weighs all alike."""
    half_life_days: float | None = Field(default=None, gt=0)
    """An interaction's weight in the graph is halved every so many days; None counts all time alike."""


class Rp3BetaRecommender(Recommender):
    """How likely a walk from the user ends at an item: to an own item, to another user who had it, to one of theirs."""

    name: ClassVar[str] = "rp3beta"

    def __init__(self, config: Rp3BetaConfig) -> None:
        self.config: Rp3BetaConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """The last two steps, item to item, in blocks; memory is bounded by a block and the kept ends."""
        taken = age_weighted_matrix(data, self.config.half_life_days)
        self.histories = _steps(recency_weighted_histories(data, self.config.half_life_items), self.config.alpha)
        self.links = _two_steps(taken, self.config)
        return self

    def enriched(self, data: TrainingSet) -> Self:
        """The graph stays; histories gain the synthetic items."""
        if data.synthetic is None:
            return self
        other = copy(self)
        other.histories = _steps(recency_weighted_histories(data, self.config.half_life_items), self.config.alpha)
        return other

    def score(self, users: np.ndarray) -> np.ndarray:
        """Non-negative; 0 where no walk arrives."""
        return np.asarray((self.histories[users] @ self.links).todense(), dtype=np.float32)


def _steps(weights: sparse.csr_matrix, alpha: float) -> sparse.csr_matrix:
    """Each row as probabilities of a step, to the power `alpha`."""
    totals = np.maximum(np.asarray(weights.sum(axis=1), dtype=np.float64).ravel(), 1e-12)
    steps = sparse.csr_matrix(sparse.diags(1 / totals) @ weights, dtype=np.float32)
    steps.data **= np.float32(alpha)
    return steps


def _two_steps(taken: sparse.csr_matrix, config: Rp3BetaConfig) -> sparse.csr_matrix:
    """float32 [items, items]: from an item over its users to other items, damped by where it ends."""
    to_users, to_items = _steps(taken.T.tocsr(), config.alpha), _steps(taken, config.alpha)
    popularity = np.asarray(taken.sum(axis=0), dtype=np.float64).ravel()
    damped = np.where(popularity > 0, np.maximum(popularity, 1e-12) ** -config.beta, 0.0).astype(np.float32)
    blocks = []
    for start in range(0, to_users.shape[0], ITEM_BLOCK):
        ends = (to_users[start : start + ITEM_BLOCK] @ to_items).tocsr()
        ends.data *= damped[ends.indices]
        own = np.repeat(np.arange(ends.shape[0]), np.diff(ends.indptr)) + start
        ends.data[own == ends.indices] = 0.0
        blocks.append(keep_best(ends, config.neighbours))
    return sparse.vstack(blocks, format="csr", dtype=np.float32)
