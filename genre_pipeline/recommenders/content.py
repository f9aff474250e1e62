"""Content: items like the ones a user took, and of them what is in demand. Works from an item's first second."""

from copy import copy
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.expected_popularity import expected_popularity
from genre_pipeline.recommenders.histories import recency_weighted_histories
from genre_pipeline.recommenders.popularity import PopularityConfig, popularity


class ContentConfig(Settings):
    """Cosine of the user's recency-weighted history with every item, and how popular such an item gets."""

    vectors: str = "text_llm"
    """Which technique's item vectors to compare."""
    half_life_items: float | None = Field(default=10.0, gt=0)
    """An item of the history counts half for every so many newer ones; None weighs all alike."""
    profile_weight: float = Field(default=0.3, ge=0, le=1)
    """Share of a generated profile in the user's vector, where there is one; the rest is what the user did."""
    popularity_weight: float = Field(default=0.5, ge=0)
    """What a deviation of the popularity that an item's vector lets expect adds to the cosine; 0 leaves it out."""
    popularity_half_life_days: float | None = Field(default=7.0, gt=0)
    """Interactions that this expectation is learned from count half for every so many days; None counts all alike."""
    popularity_ridge: float = Field(default=3.0, gt=0)
    """How far that regression is drawn to the mean; larger for vectors that are many to few items."""


class ContentRecommender(Recommender):
    """r(u, v) = cosine similarity of the user's weighted mean vector and the item's vector, plus a share of the
    popularity that the item's vector lets expect.
    """

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
        self.users = _of_length_one(recency_weighted_histories(data, self.config.half_life_items) @ self.items)
        self.demand = self._demand(data)
        return self

    def enriched(self, data: TrainingSet) -> Self:
        """Generated vectors of items, histories with synthetic items, and profiles; the demand stays as learned."""
        other = copy(self)
        other.items = data.item_vectors[self.config.vectors]
        other.users = _of_length_one(recency_weighted_histories(data, self.config.half_life_items) @ other.items)
        profiles = data.profile_vectors.get(self.config.vectors)
        if profiles is not None:
            # Who has no profile keeps the direction of what they did.
            share = np.where(profiles.any(axis=1, keepdims=True), np.float32(self.config.profile_weight), np.float32(0))
            other.users = _of_length_one((1 - share) * other.users + share * profiles)
        return other

    def score(self, users: np.ndarray) -> np.ndarray:
        """Cosine in -1 … 1 plus expected demand; 0 where the item has no vector."""
        return np.asarray(self.blend_score(users) + self.demand)

    def blend_score(self, users: np.ndarray) -> np.ndarray:
        """The cosine alone: how popular known items are, popularity knows better, and the blend has it already."""
        return np.asarray(self.users[users] @ self.items.T)

    def _demand(self, data: TrainingSet) -> np.ndarray:
        """float32 [items]: what an item is ahead by, for everybody."""
        config = self.config
        if not config.popularity_weight:
            return np.zeros(data.n_items, dtype=np.float32)
        now = popularity(data, PopularityConfig(half_life_days=config.popularity_half_life_days))
        expected = expected_popularity(self.items, now, config.popularity_ridge)
        return np.asarray(np.float32(config.popularity_weight) * expected)


def _of_length_one(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0))
