"""Bayesian personalised ranking: users and items as factors learned from pairs, through the library `implicit`."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender


class BprConfig(Settings):
    """BPR-MF (Rendle, Freudenthaler, Gantner and Schmidt-Thieme, UAI 2009): what was taken before what was not."""

    factors: int = Field(default=64, ge=1)
    """Width of the factors, beside a bias for each item."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Step of the gradient ascent."""
    regularisation: float = Field(default=0.01, ge=0)
    """Ridge on the factors."""
    iterations: int = Field(default=100, ge=1)
    """Passes over as many pairs as there are interactions."""


class BprRecommender(Recommender):
    """Dot product of user and item factors, and the item's bias; weights of interactions are not looked at."""

    name: ClassVar[str] = "bpr"

    def __init__(self, config: BprConfig) -> None:
        self.config: BprConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """On one thread: several would write over each other's steps, in another order each time."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(
            factors=self.config.factors,
            learning_rate=self.config.learning_rate,
            regularization=self.config.regularisation,
            iterations=self.config.iterations,
            random_state=seed,
            num_threads=1,
            verify_negative_samples=True,
        )
        model.fit(data.matrix, show_progress=False)
        self.users, self.items = model.user_factors, model.item_factors
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """Any sign."""
        return np.asarray(self.users[users] @ self.items.T, dtype=np.float32)
