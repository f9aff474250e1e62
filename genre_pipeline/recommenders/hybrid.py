"""The hybrid: every recommender's calibrated score, weighted by what validation taught for users like this one."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.blending import BlendWeights, calibrate, shown_to
from genre_pipeline.recommenders.content import ContentRecommender
from genre_pipeline.recommenders.popularity import PopularityRecommender
from genre_pipeline.recommenders.validation import K


class HybridConfig(Settings):
    """How the blend is chosen."""

    pool_depth: int = Field(default=60, ge=K)
    """Candidates each recommender brings to the pool of a validation user."""
    trials: int = Field(default=400, ge=0)
    """Weight vectors tried for everybody; half as many for each segment."""
    segment_edges: tuple[int, ...] = (6, 21)
    """History lengths at which the next segment of users starts."""
    min_segment_users: int = Field(default=300, ge=2)
    """Validation users below which a segment shares the common weights."""

    @field_validator("segment_edges")
    @classmethod
    def _edges_ascend(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        if any(edge < 1 for edge in edges) or sorted(set(edges)) != list(edges):
            raise ValueError("name history lengths from 1 on, each longer than the one before")
        return edges


class Blend(Recommender):
    """A recommender whose scores are made of others', and which can say what each gave."""

    parts: Mapping[str, Recommender]

    @abstractmethod
    def contributions(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float32 [users, width, parts]: what each part gave to the score of each of `items` [users, width]."""


class HybridRecommender(Blend):
    """A weighted sum of parts that are fitted already; `fit` only takes note of the data.

    Of an item that nobody has had yet, popularity knows nothing: its part is what content lets expect (decision 17).
    """

    name: ClassVar[str] = "hybrid"

    def __init__(self, parts: Mapping[str, Recommender], weights: BlendWeights) -> None:
        self.parts = {name: parts[name] for name in weights.parts}
        self.config = self.weights = weights

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """The parts must have been fitted on the same `data`."""
        self.data = data
        self.parts = _expecting(self.parts, data)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """0 … 1; parts of no weight for anybody in the block are not asked."""
        weights = self.weights.of(self.data.history_lengths[users])
        shown = shown_to(self.data, users)
        total = np.zeros(shown.shape, dtype=np.float32)
        for column, part in enumerate(self.parts.values()):
            if weights[:, column].any():
                total += weights[:, column : column + 1] * calibrate(part.blend_score(users), shown)
        return total

    def contributions(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float32 [users, width, parts]: what each part gave to the score of each of `items` [users, width]."""
        weights = self.weights.of(self.data.history_lengths[users])
        shown = shown_to(self.data, users)
        given = [
            np.take_along_axis(calibrate(part.blend_score(users), shown), items, axis=1) for part in self.parts.values()
        ]
        return np.asarray(np.stack(given, axis=2) * weights[:, None, :])


def _expecting(parts: Mapping[str, Recommender], data: TrainingSet) -> Mapping[str, Recommender]:
    """The same, popularity with what content lets expect of items that nobody has had."""
    popularity, content = (parts.get(kind.name) for kind in (PopularityRecommender, ContentRecommender))
    if not isinstance(popularity, PopularityRecommender) or not isinstance(content, ContentRecommender):
        return parts
    had = np.diff(data.matrix.tocsc().indptr) > 0
    return {**parts, popularity.name: popularity.expecting(content.demand, had)}
