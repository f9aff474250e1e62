"""Content: items like the ones a user took, by the cosine of their vectors. Works from an item's first second."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.histories import recency_weighted_histories


class ContentConfig(Settings):
    """Cosine of the user's recency-weighted history with every item."""

    vectors: str = "text_llm"
    """Which technique's item vectors to compare."""
    half_life_items: float | None = Field(default=10.0, gt=0)
    """An item of the history counts half for every so many newer ones; None weighs all alike."""


class ContentRecommender(Recommender):
    """r(u, v) = cosine similarity of the user's weighted mean vector and the item's vector."""

    name: ClassVar[str] = "content"

    def __init__(self, config: ContentConfig) -> None:
        self.config: ContentConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Take the mean vector of each user. Raises `ConfigError` if the technique's vectors are not there."""
        if self.config.vectors not in data.item_vectors:
            raise ConfigError(
                f"content.vectors is {self.config.vectors!r}, which no extractor made",
                remedy=f"Use one of: {', '.join(sorted(data.item_vectors)) or 'none were made'}.",
            )
        self.items = data.item_vectors[self.config.vectors]
        profile = recency_weighted_histories(data, self.config.half_life_items) @ self.items
        norms = np.linalg.norm(profile, axis=1, keepdims=True)
        self.users = np.divide(profile, norms, out=np.zeros_like(profile), where=norms > 0)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """Cosine in -1 … 1; 0 where either side has no vector."""
        return np.asarray(self.users[users] @ self.items.T)
