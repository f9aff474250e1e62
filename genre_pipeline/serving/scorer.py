"""What each strategy offers a user: a pool of candidates with scores in parts. Pure: a run in memory and a user's state
in, a pool out. Which strategy is asked is `ladder`'s, which items of a pool are shown is `choosing`'s.

Real time: score = (w_p · published + w_v · cosine + w_o · popularity) / (w_p + w_v + w_o), where `published` is the
user's nightly score scaled into (0, 1] within the list (0 for an item that is not on it), `cosine` that of the fresh
user vector and the item's vector, and `popularity` log(1 + decayed count) over its maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genre_pipeline.serving.published import PublishedRun, normalised
from genre_pipeline.serving.settings import ServingConfig


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
    reasons: Sequence[list[str]] = ()
    """The night's reasons for each."""

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

    def without(self, boost: np.ndarray) -> "PublishedList":
        """The same without what the night added for freshness, float32 [items]: the rules add it now."""
        return replace(self, scores=self.scores - boost[self.positions])


EMPTY_LIST = PublishedList(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class Pool:
    """Candidates, each once, ascending. The columns of `parts` add up to the scores."""

    positions: np.ndarray
    """int64 [pool]."""
    parts: np.ndarray
    """float32 [3, pool]: what the nightly list, the vectors and popularity give."""
    near: np.ndarray
    """int64: items near the user's history, candidates or not."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def scores(self) -> np.ndarray:
        """float32 [pool]."""
        return np.asarray(self.parts.sum(axis=0))


def real_time_pool(
    run: PublishedRun, user: UserState, listed: PublishedList, allowed: np.ndarray, k: int, config: ServingConfig
) -> Pool:
    """The blend over the nightly list, the items nearest to the fresh history, and what is popular now.

    `allowed` is bool [items]. `user.vector` must be there. At least `k` items where so many are allowed.
    """
    if user.vector is None:
        raise ValueError("a real-time pool needs a user vector")
    taste = normalised(user.vector[np.newaxis, :])
    near = run.search.nearest(_queries(run, user, taste, config), allowed, config.candidates_nearest)
    nightly = listed.positions[: config.candidates_published]
    popular = most_popular(run, allowed, max(config.candidates_popular, k))
    at = np.unique(np.concatenate([nightly[allowed[nightly]], near, popular]))
    return blended(run, at, taste[0], listed, near, config)


def blended(
    run: PublishedRun, at: np.ndarray, taste: np.ndarray | None, listed: PublishedList, near: np.ndarray,
    config: ServingConfig,
) -> Pool:  # fmt: skip
    """The blend for the items `at`, int64 ascending. `taste`, float32 [width] of length 1, is None where unknown."""
    published = np.zeros(run.n_items, dtype=np.float32)
    published[listed.positions[: config.candidates_published]] = listed.scaled[: config.candidates_published]
    cosine = np.zeros(len(at), dtype=np.float32) if taste is None else run.vectors[at] @ taste
    parts = np.stack([published[at], cosine, run.popularity[at]]) * blend_weights(config)[:, np.newaxis]
    return Pool(at, parts.astype(np.float32, copy=False), near)


def published_pool(run: PublishedRun, listed: PublishedList, allowed: np.ndarray) -> Pool | None:
    """The nightly list without what is not allowed; None where nothing is left."""
    is_kept = allowed[listed.positions]
    if not is_kept.any():
        return None
    at, scores = listed.positions[is_kept], listed.scaled[is_kept]
    order = np.argsort(at)
    return Pool(at[order], _only(scores[order], row=0), at[:0])


def similar_pool(run: PublishedRun, user: UserState, allowed: np.ndarray, k: int, config: ServingConfig) -> Pool | None:
    """Items nearest to the latest of the user's history, by their largest cosine; None where there are none."""
    latest = user.history[-config.nearest_to_latest :] if config.nearest_to_latest else user.history[-1:]
    latest = latest[run.vectors[latest].any(axis=1)] if run.vectors.shape[1] else latest[:0]
    if not len(latest):
        return None
    queries = run.vectors[latest]
    at = np.sort(run.search.nearest(queries, allowed, max(k, config.candidates_nearest)))
    if not len(at):
        return None
    cosine = (run.vectors[at] @ queries.T).max(axis=1)
    return Pool(at, _only(cosine, row=1), at)


def category_pool(run: PublishedRun, user: UserState, allowed: np.ndarray, config: ServingConfig) -> Pool | None:
    """What is popular in the categories that the user's history holds most; None where it holds none."""
    codes = run.categories[user.history].ravel()
    numbers, counts = np.unique(codes[codes >= 0], return_counts=True)
    preferred = numbers[np.lexsort((numbers, -counts))][: config.preferred_categories]
    at = np.flatnonzero(allowed & np.isin(run.categories, preferred).any(axis=1))
    return Pool(at, _only(run.popularity[at], row=2), at[:0]) if len(at) else None


def popular_pool(run: PublishedRun, allowed: np.ndarray) -> Pool | None:
    """What is popular now; None where nothing is allowed."""
    at = np.flatnonzero(allowed)
    return Pool(at, _only(run.popularity[at], row=2), at[:0]) if len(at) else None


def filled(run: PublishedRun, pool: Pool, allowed: np.ndarray, wanted: int) -> Pool:
    """The pool with popular items below it, up to `wanted` items where so many are allowed."""
    if len(pool) >= wanted:
        return pool
    left = allowed.copy()
    left[pool.positions] = False
    more = most_popular(run, left, wanted - len(pool))
    # A filled item stays below the pool: popularity is at most 1, the pool's last score is the ceiling.
    floor = pool.scores.min(initial=1.0)
    below = run.popularity[more] * floor if floor > 0 else run.popularity[more] - 1 + floor
    at, parts = np.concatenate([pool.positions, more]), np.concatenate([pool.parts, _only(below, row=2)], axis=1)
    order = np.argsort(at)
    return Pool(at[order], parts[:, order], pool.near)


def most_popular(run: PublishedRun, allowed: np.ndarray, count: int) -> np.ndarray:
    """int64: the most popular items that are allowed, most popular first."""
    still_allowed: np.ndarray = run.popular_order[allowed[run.popular_order]]
    return still_allowed[:count]


def blend_weights(config: ServingConfig) -> np.ndarray:
    """float32 [3], adding up to 1."""
    weights = np.array([config.weight_published, config.weight_vector, config.weight_popularity], dtype=np.float32)
    weights /= weights.sum()
    return weights


def _queries(run: PublishedRun, user: UserState, taste: np.ndarray, config: ServingConfig) -> np.ndarray:
    latest = user.history[-config.nearest_to_latest :] if config.nearest_to_latest else user.history[:0]
    return np.concatenate([taste, run.vectors[latest]]).astype(np.float32, copy=False)


def _only(values: np.ndarray, *, row: int) -> np.ndarray:
    """float32 [3, n]: zeros, but `values` in one row."""
    parts = np.zeros((3, len(values)), dtype=np.float32)
    parts[row] = values
    return parts
