"""From a pool to the list that is shown: the rules of the user's variant, the order, and the reasons. Pure."""

from dataclasses import dataclass, field

import numpy as np

from genre_pipeline.recommenders.rerank import Block, rerank
from genre_pipeline.recommenders.ruled_lists import DRAWN_REASON, PINNED_REASON
from genre_pipeline.recommenders.rules import ItemRules
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import Pool, PublishedList, UserState
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
class Scored:
    """Chosen items, best first. The columns of `parts` add up to `scores`."""

    positions: np.ndarray
    """int64 [k]."""
    scores: np.ndarray
    """float32 [k]."""
    parts: np.ndarray
    """float32 [4, k]: what the nightly list, the vectors, popularity and freshness gave."""
    reasons: list[list[str]] = field(default_factory=list)
    """At least one for each item."""

    def __len__(self) -> int:
        return len(self.positions)


NOTHING = Scored(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.zeros((4, 0), dtype=np.float32))


def by_score(pool: Pool, k: int) -> Scored:
    """The `k` best, equal scores by the smaller position; no reasons yet."""
    scores = pool.scores
    best = np.lexsort((pool.positions, -scores))[:k]
    parts = np.concatenate([pool.parts[:, best], np.zeros((1, len(best)), dtype=np.float32)])
    return Scored(pool.positions[best], scores[best], parts)


def by_rules(
    run: PublishedRun, pool: Pool, rules: ItemRules, allowed: np.ndarray, had: np.ndarray, k: int, seed: np.ndarray
) -> tuple[Scored, np.ndarray, np.ndarray]:
    """The list that the rules choose, and which of its items are pinned and which drawn, both bool [k].

    `allowed` and `had` are bool [items]: what may be shown, and what the user has had; `seed` is uint64 [1].
    """
    whole = np.zeros((3, run.n_items), dtype=np.float32)
    whole[:, pool.positions] = pool.parts
    scores = np.full((1, run.n_items), -np.inf, dtype=np.float32)
    scores[0, pool.positions] = pool.scores
    repeats = had[np.newaxis, :] if rules.rules.repeats.most else None
    chosen = rerank(Block(scores, (allowed & ~had)[np.newaxis, :], repeats, seed), rules, k)
    there = chosen.positions[0] >= 0
    at = chosen.positions[0][there]
    parts = np.concatenate([whole[:, at], rules.boost[at][np.newaxis, :]])
    return Scored(at, parts.sum(axis=0), parts), chosen.is_pinned[0][there], chosen.is_drawn[0][there]


def with_reasons(
    chosen: Scored, pool: Pool, run: PublishedRun, user: UserState, config: ServingConfig,
    is_pinned: np.ndarray | None = None, is_drawn: np.ndarray | None = None,
) -> Scored:  # fmt: skip
    """The same with what a person can read of each item: why it is pinned or drawn, or what speaks for it."""
    liked = _closest_in_history(chosen.positions, run, user, config.reason_min_similarity)
    is_near = run.members(pool.near)[chosen.positions]
    is_popular = run.members(run.popular_order[: config.candidates_popular])[chosen.positions]
    reasons = []
    for because, listed, close, popular in zip(liked, chosen.parts[0] > 0, is_near, is_popular, strict=True):
        found = [because] if because else [NEAR_REASON] if close else []
        found += [PUBLISHED_REASON] if listed else []
        reasons.append(found + ([POPULAR_REASON] if popular or not found else []))
    for marked, reason in ((is_pinned, PINNED_REASON), (is_drawn, DRAWN_REASON)):
        for place in np.flatnonzero(marked) if marked is not None else ():
            reasons[place] = [reason]
    return Scored(chosen.positions, chosen.scores, chosen.parts, reasons)


def with_nightly_reasons(chosen: Scored, listed: PublishedList) -> Scored:
    """The same with what the night said of each item, where it said something."""
    said = dict(zip(listed.positions.tolist(), listed.reasons, strict=True)) if listed.reasons else {}
    reasons = [said.get(at) or [POPULAR_REASON] for at in chosen.positions.tolist()]
    return Scored(chosen.positions, chosen.scores, chosen.parts, reasons)


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
