"""Two audiences, two blends: users who are around, and users who have been away.

A time window teaches what users around it took next: mostly what is new and popular. Where those who had been away do
come back, it teaches about them too. Where they hardly ever do, the window holds no word about them, and the honest
teacher is each user's own last step: for them, settings and weights are chosen leave-one-out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import TIMESTAMP, USER_ID, USER_INDEX
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.hybrid import HybridRecommender
from genre_pipeline.recommenders.suite import HYBRID, Say, Tuned, fit_suite


class AudiencesConfig(Settings):
    """When a user counts as away, and when such users are judged by their own last step."""

    dormant_after_days: float = Field(default=30.0, gt=0)
    """Days without an interaction after which a user is away."""
    least_return_share: float = Field(default=0.1, ge=0, le=1)
    """If at least this share of the users who were away came back in the validation window, it speaks for them; 0
    always lets it speak."""
    least_users: int = Field(default=100, ge=1)
    """Fewer users than this who are away are not worth a blend of their own."""


@dataclass(frozen=True)
class Audiences:
    """What was chosen for each audience: data, kept beside every list that it shaped."""

    active: Tuned
    dormant: Tuned | None
    """None where one blend serves everybody."""
    dormant_after_days: float

    def to_json(self) -> dict[str, Any]:
        """Everything that decided, for a manifest or a report."""
        dormant = None if self.dormant is None else self.dormant.to_json()
        return {"active": self.active.to_json(), "dormant": dormant, "dormant_after_days": self.dormant_after_days}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Audiences":
        """The inverse of `to_json`."""
        dormant = data["dormant"]
        return cls(
            Tuned.from_json(data["active"]),
            None if dormant is None else Tuned.from_json(dormant),
            data["dormant_after_days"],
        )


class AudienceHybrid(HybridRecommender):
    """The hybrid of users who are around, which asks another hybrid about users who have been away."""

    def __init__(self, active: HybridRecommender, dormant: HybridRecommender, dormant_after_days: float) -> None:
        super().__init__(active.parts, active.weights)
        self._active, self._dormant = active, dormant
        self._dormant_after_days = dormant_after_days

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Both hybrids must have been fitted on the same `data`."""
        self._is_dormant = dormant_users(data, self._dormant_after_days)
        return super().fit(data, seed=seed)

    def score(self, users: np.ndarray) -> np.ndarray:
        """0 … 1, from the hybrid of each user's audience."""
        scores = np.empty((len(users), self.data.n_items), dtype=np.float32)
        for hybrid, rows in self._by_audience(users):
            scores[rows] = hybrid.score(users[rows])
        return scores

    def contributions(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float32 [users, width, parts], parts in the order of the active hybrid's."""
        given = np.zeros((*items.shape, len(self.parts)), dtype=np.float32)
        for hybrid, rows in self._by_audience(users):
            order = [list(hybrid.parts).index(name) for name in self.parts]
            given[rows] = hybrid.contributions(users[rows], items[rows])[:, :, order]
        return given

    def _by_audience(self, users: np.ndarray) -> list[tuple[HybridRecommender, np.ndarray]]:
        away = self._is_dormant[users]
        split = [(self._active, np.flatnonzero(~away)), (self._dormant, np.flatnonzero(away))]
        return [(hybrid, rows) for hybrid, rows in split if len(rows)]


def dormant_users(data: TrainingSet, after_days: float) -> np.ndarray:
    """bool [users]: no interaction in the last `after_days` before `as_of`; nobody, where the data has no clock."""
    if not data.has_clock:
        return np.zeros(data.n_users, dtype=bool)
    last = data.events.group_by(USER_INDEX).agg(pl.col(TIMESTAMP).max()).sort(USER_INDEX)[TIMESTAMP]
    return (last < data.as_of - timedelta(days=after_days)).to_numpy()


def return_share(data: TrainingSet, truth: pl.DataFrame, after_days: float) -> float:
    """Of the users who were away at the end of `data`, the share that `truth` (user_id, item_id) sees again."""
    away = data.user_ids.filter(pl.Series(dormant_users(data, after_days)))
    return float(away.is_in(truth[USER_ID].unique().implode()).mean() or 0.0) if len(away) else 0.0  # type: ignore[arg-type]


def fit_audiences(
    data: TrainingSet,
    audiences: Audiences,
    *,
    seed: int,
    say: Say,
    timed: dict[str, float] | None = None,
    ready: Mapping[str, Recommender] | None = None,
) -> dict[str, Recommender]:
    """`fit_suite` for the active audience, by name; "hybrid" serves both. What both settled on is fitted once."""
    active = fit_suite(data, audiences.active, seed=seed, say=say, timed=timed, ready=ready)
    if audiences.dormant is None:
        return active
    say("for users who have been away:")
    chosen = audiences.dormant.settings
    same = {name: active[name] for name, settings in audiences.active.settings.items() if chosen.get(name) == settings}
    dormant = fit_suite(data, audiences.dormant, seed=seed, say=say, ready=same)
    both = (active[HYBRID], dormant[HYBRID])
    hybrids = [hybrid for hybrid in both if isinstance(hybrid, HybridRecommender)]
    return {**active, HYBRID: AudienceHybrid(hybrids[0], hybrids[1], audiences.dormant_after_days).fit(data, seed=seed)}
