"""Two audiences: users who are around, and users who have been away.

A time window teaches what those who are there take next: mostly what is new and popular. About users who have been away
it says little where few of them come back, and only about those few. The other teacher is each user's own last step.
Nobody knows which of the two a returning user will follow, so their lists hedge: a stated share of each.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import TIMESTAMP, USER_ID, USER_INDEX
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.suite import HYBRID, Say, Tuned, fit_suite


class AudiencesConfig(Settings):
    """When a user counts as away, and what such a user's list is made of. Read by `genre batch`."""

    dormant_after_days: float = Field(default=30.0, gt=0)
    """Days without an interaction after which a user is away."""
    least_return_share: float = Field(default=0.1, ge=0, le=1)
    """If at least this share of the users who were away came back in the validation window, it speaks for all of them;
    0 always lets it speak."""
    least_users: int = Field(default=100, ge=1)
    """Fewer users than this who are away are not worth a blend of their own."""
    own_step_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the blend that was chosen on each one's own last step; the rest is what the window taught."""


@dataclass(frozen=True)
class Audiences:
    """What was chosen for whom."""

    active: Tuned
    """What the time window taught."""
    dormant: Tuned | None
    """What the own last steps taught; None where the window speaks for everybody."""


class AudienceHybrid(Recommender):
    """The active hybrid; for users who have been away, a mixture with the one of their own last steps."""

    name: ClassVar[str] = HYBRID

    def __init__(self, active: Recommender, dormant: Recommender, config: AudiencesConfig) -> None:
        self.active, self.dormant = active, dormant
        self.config: AudiencesConfig = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Both hybrids must have been fitted on the same `data`."""
        self._is_dormant = dormant_users(data, self.config.dormant_after_days)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """0 … 1."""
        scores = self.active.score(users)
        away = np.flatnonzero(self._is_dormant[users])
        if len(away):
            share = self.config.own_step_share
            scores[away] = (1 - share) * scores[away] + share * self.dormant.score(users[away])
        return scores


def dormant_users(data: TrainingSet, after_days: float) -> np.ndarray:
    """bool [users]: no interaction in the last `after_days` before `as_of`; nobody, where the data has no clock."""
    if not data.has_clock:
        return np.zeros(data.n_users, dtype=bool)
    last = data.events.group_by(USER_INDEX).agg(pl.col(TIMESTAMP).max()).sort(USER_INDEX)[TIMESTAMP]
    return (last < data.as_of - timedelta(days=after_days)).to_numpy()


def return_share(data: TrainingSet, truth: pl.DataFrame, after_days: float) -> float:
    """Of the users who were away at the end of `data`, the share that `truth` (user_id, item_id) sees again; else 0."""
    away = data.user_ids.filter(pl.Series(dormant_users(data, after_days)))
    back = away.is_in(truth[USER_ID].unique().implode())
    return int(back.sum()) / len(away) if len(away) else 0.0


def fit_audiences(
    data: TrainingSet, audiences: Audiences, config: AudiencesConfig, *, seed: int, say: Say
) -> dict[str, Recommender]:
    """`fit_suite` by name; "hybrid" serves both audiences. What both settled on is fitted once."""
    active = fit_suite(data, audiences.active, seed=seed, say=say)
    if audiences.dormant is None:
        return active
    say("for users who have been away:")
    chosen = audiences.dormant.settings
    same = {name: active[name] for name, settings in audiences.active.settings.items() if chosen.get(name) == settings}
    dormant = fit_suite(data, audiences.dormant, seed=seed, say=say, ready=same)
    return {**active, HYBRID: AudienceHybrid(active[HYBRID], dormant[HYBRID], config).fit(data, seed=seed)}
