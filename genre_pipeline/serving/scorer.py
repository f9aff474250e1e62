"""Scoring a list now: candidates, blend, exclusions, reasons. Pure: a run in memory and a user's state in, a list out.

Score = (w_p · published + w_v · cosine + w_o · popularity) / (w_p + w_v + w_o), where `published` is the user's nightly
score scaled into (0, 1] within the list (0 for an item that is not on it), `cosine` that of the fresh user vector and
the item's vector, and `popularity` log(1 + decayed count) over its maximum. Ties go to the smaller item id.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from genre_pipeline.serving.published import PublishedRun, normalised
from genre_pipeline.serving.settings import ServingConfig

_VERBS = {
    "like": "you liked",
    "rating": "you rated",
    "purchase": "you bought",
    "cart": "you put in your basket",
    "click": "you looked at",
    "view": "you viewed",
}
POPULAR_REASON = "popular now"
PUBLISHED_REASON = "in your nightly list"
NEAR_REASON = "close to what you have been looking at"


@dataclass(frozen=True)
class UserState:
    """What is known of a user now, by item position."""

    seen: np.ndarray
    """int64: every item the user has had."""
    history: np.ndarray
    """int64 [h]: the latest of them, oldest first; only items the catalogue has."""
    verbs: Sequence[str]
    """Event type of each entry of `history`."""
    vector: np.ndarray | None
    """float32 [width], or None where there is none to score with."""


@dataclass(frozen=True)
class PublishedList:
    """A user's nightly list, by item position."""

    positions: np.ndarray
    """int64 [n], in the order of rank."""
    scores: np.ndarray
    """float32 [n], as published."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def scaled(self) -> np.ndarray:
        """float32 [n] in (0, 1]: first 1, last 1/n, in proportion to the published scores between."""
        if not len(self.scores):
            return self.scores
        low, high, floor = self.scores.min(), self.scores.max(), 1 / len(self.scores)
        share = (self.scores - low) / (high - low) if high > low else np.ones_like(self.scores)
        return (floor + (1 - floor) * share).astype(np.float32)


EMPTY_LIST = PublishedList(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class Scored:
    """Chosen items, best first. `parts` add up to `scores`."""

    positions: np.ndarray
    """int64 [k]."""
    scores: np.ndarray
    """float32 [k]."""
    published: np.ndarray
    """float32 [k]: what the nightly list gave."""
    vector: np.ndarray
    """float32 [k]: what the cosine gave."""
    popularity: np.ndarray
    """float32 [k]: what popularity gave."""
    reasons: list[list[str]] = field(default_factory=list)
    """At least one for each item."""

    def __len__(self) -> int:
        return len(self.positions)


def score_now(run: PublishedRun, user: UserState, listed: PublishedList, k: int, config: ServingConfig) -> Scored:
    """The real-time list: at most `k` unique candidates the user has not had. `user.vector` must be there.

    Shorter than `k` only where fewer such items exist.
    """
    if user.vector is None:
        raise ValueError("score_now needs a user vector")
    allowed = allowed_items(run, user.seen)
    cosine = run.vectors @ normalised(user.vector[np.newaxis, :])[0]  # [items]
    popular = _most_popular(run, allowed, max(config.candidates_popular, k))
    near = _nearest(cosine, allowed, config.candidates_nearest)
    nightly = listed.positions[: config.candidates_published]
    pool = np.unique(np.concatenate([nightly[allowed[nightly]], near, popular]))
    published = np.zeros(run.n_items, dtype=np.float32)
    published[nightly] = listed.scaled[: config.candidates_published]
    weights = _weights(config)
    parts = np.stack([published[pool], cosine[pool], run.popularity[pool]]) * weights[:, np.newaxis]  # [3, pool]
    scores = parts.sum(axis=0)
    best = np.lexsort((pool, -scores))[:k]
    chosen = Scored(pool[best], scores[best], *parts[:, best])
    return _with_reasons(chosen, run, user, near, config)


def published_now(run: PublishedRun, user: UserState, listed: PublishedList, k: int, config: ServingConfig) -> Scored:
    """The nightly list without what was seen since, in its order, filled up to `k` with popular items below it."""
    allowed = allowed_items(run, user.seen)
    is_kept = allowed[listed.positions]
    kept, scores = listed.positions[is_kept][:k], listed.scaled[is_kept][:k]
    allowed[kept] = False
    filling = _most_popular(run, allowed, k - len(kept))
    # A filled item stays below the list: popularity is at most 1, the list's last scaled score is the ceiling.
    below = run.popularity[filling] * (scores[-1] if len(scores) else np.float32(1))
    nothing, none = np.zeros(len(kept), dtype=np.float32), np.zeros(len(filling), dtype=np.float32)
    chosen = Scored(
        positions=np.concatenate([kept, filling]),
        scores=np.concatenate([scores, below]),
        published=np.concatenate([scores, none]),
        vector=np.zeros(len(kept) + len(filling), dtype=np.float32),
        popularity=np.concatenate([nothing, below]),
    )
    return _with_reasons(chosen, run, user, kept[:0], config)


def popular_now(run: PublishedRun, seen: np.ndarray, k: int) -> Scored:
    """The most popular items outside `seen`."""
    chosen = _most_popular(run, allowed_items(run, seen), k)
    scores, none = run.popularity[chosen], np.zeros(len(chosen), dtype=np.float32)
    return Scored(chosen, scores, none, none, scores, [[POPULAR_REASON] for _ in chosen])


def allowed_items(run: PublishedRun, seen: np.ndarray) -> np.ndarray:
    """bool [items]: candidates outside `seen`. A fresh array."""
    allowed = run.is_candidate.copy()
    allowed[seen] = False
    return allowed


def _weights(config: ServingConfig) -> np.ndarray:
    weights = np.array([config.weight_published, config.weight_vector, config.weight_popularity], dtype=np.float32)
    weights /= weights.sum()
    return weights


def _most_popular(run: PublishedRun, allowed: np.ndarray, count: int) -> np.ndarray:
    still_allowed: np.ndarray = run.popular_order[allowed[run.popular_order]]
    return still_allowed[:count]


def _nearest(cosine: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    candidates = np.flatnonzero(allowed & (cosine > 0))
    if len(candidates) <= count:
        return candidates
    if count == 0:
        return candidates[:0]
    return candidates[np.argpartition(-cosine[candidates], count - 1)[:count]]


def _with_reasons(
    chosen: Scored, run: PublishedRun, user: UserState, near: np.ndarray, config: ServingConfig
) -> Scored:
    liked = _closest_in_history(chosen.positions, run, user, config.reason_min_similarity)
    is_near = _membership(run, near)[chosen.positions]
    is_popular = _membership(run, run.popular_order[: config.candidates_popular])[chosen.positions]
    reasons = []
    for because, listed, close, popular in zip(liked, chosen.published > 0, is_near, is_popular, strict=True):
        found = [because] if because else [NEAR_REASON] if close else []
        found += [PUBLISHED_REASON] if listed else []
        reasons.append(found + ([POPULAR_REASON] if popular or not found else []))
    return Scored(chosen.positions, chosen.scores, chosen.published, chosen.vector, chosen.popularity, reasons)


def _membership(run: PublishedRun, positions: np.ndarray) -> np.ndarray:
    """bool [items]: whether an item is among `positions`."""
    members = np.zeros(run.n_items, dtype=bool)
    members[positions] = True
    return members


def _closest_in_history(positions: np.ndarray, run: PublishedRun, user: UserState, least: float) -> list[str | None]:
    """For each position, a reason that names the nearest item of the history, or None below `least`."""
    if not len(user.history) or not len(positions) or not run.vectors.shape[1]:
        return [None] * len(positions)
    cosine = run.vectors[positions] @ run.vectors[user.history].T  # [k, h]
    nearest = cosine.argmax(axis=1)
    is_close = cosine.max(axis=1) >= least
    return [
        f"because {_VERBS.get(user.verbs[at], 'you had')} {run.titles[user.history[at]]}" if close else None
        for at, close in zip(nearest, is_close, strict=True)
    ]
