"""Implicit ALS: users and items as factors, through the library `implicit`."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender


class AlsConfig(Settings):
    """Weighted matrix factorisation (Hu, Koren and Volinsky, ICDM 2008) with implicit's conjugate-gradient solver."""

    factors: int = Field(default=64, ge=1)
    """Width of the factors."""
    regularisation: float = Field(default=0.05, ge=0)
    """Ridge on the factors."""
    alpha: float = Field(default=10.0, gt=0)
    """Confidence in an interaction: 1 + alpha times its weight."""
    iterations: int = Field(default=15, ge=1)
    """Alternations."""


class AlsRecommender(Recommender):
    """Dot product of user and item factors."""

    name: ClassVar[str] = "als"

    def __init__(self, config: AlsConfig) -> None:
        self.config: AlsConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """BLAS is held to one thread: implicit parallelises over rows itself and slows tenfold otherwise."""
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            model = AlternatingLeastSquares(
                factors=self.config.factors,
                regularization=self.config.regularisation,
                alpha=self.config.alpha,
                iterations=self.config.iterations,
                random_state=seed,
                dtype=np.float32,
            )
            model.fit(data.matrix, show_progress=False)
        self.users, self.items = model.user_factors, model.item_factors
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """Any sign, about 0 … 1."""
        return np.asarray(self.users[users] @ self.items.T, dtype=np.float32)
