"""Degrading in order: the best strategy that has something to show, and what is given up before a list is empty. Pure.

real-time → published → similar → popular-in-category → popular. Where nothing is left to show at all, in this order:
what the user has had is shown again, the categories asked for are let go, what was to be left out is shown.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from genre_pipeline.recommenders.rules import ItemRules
from genre_pipeline.serving.choosing import NOTHING, Scored, by_rules, by_score, with_nightly_reasons, with_reasons
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import (
    Pool,
    PublishedList,
    UserState,
    category_pool,
    filled,
    popular_pool,
    published_pool,
    real_time_pool,
    similar_pool,
)
from genre_pipeline.serving.settings import ServingConfig

Strategy = Literal["real-time", "published", "similar", "popular-in-category", "popular"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""Best first."""
ALL_SEEN = "all_seen: the user has had every item that may be shown; these are repeats"
NO_SUCH_CATEGORY = "no_such_category: no item of these categories may be shown; these are of others"
ALL_EXCLUDED = "all_excluded: `exclude` leaves nothing to show; these are items that it names"
FEWER = "fewer_items: not so many items may be shown"


@dataclass(frozen=True)
class Ask:
    """What a caller wants of a list."""

    k: int
    strategy: Strategy = "real-time"
    """Where to begin; the ones above it are not asked."""
    categories: tuple[str, ...] = ()
    """Only items with one of these; all where empty."""
    exclude: tuple[str, ...] = ()
    """Items to leave out."""
    available_only: bool | None = None
    """None: as the rules say."""


@dataclass(frozen=True)
class Choice:
    """A list and how it came about."""

    strategy: Strategy
    chosen: Scored
    degraded: list[str]


def choose(
    run: PublishedRun, user: UserState, listed: PublishedList, ask: Ask, config: ServingConfig, *, rules: ItemRules,
    seed: np.ndarray, finished: np.ndarray | None = None,
) -> Choice:  # fmt: skip
    """The list; empty only where nothing of the catalogue may be shown to anybody. `seed` is uint64 [1].

    `finished`, int64, is what the user has finished, of which depends what is open; None asks for no prerequisites.
    """
    had, listed = run.members(user.seen), listed.without(rules.boost)
    for allowed, notes in _let_go(run, rules, ask, had, finished):
        first = ask.strategy if not notes else "popular"
        for strategy in STRATEGIES[STRATEGIES.index(first) :]:
            pool = _POOLS[strategy](run, user, listed, allowed, ask.k, config)
            if pool is None:
                continue
            if rules.changes_nothing:
                chosen = _by_score(run, pool, allowed, ask.k, user, config, listed if strategy == "published" else None)
            else:
                pool = filled(run, pool, allowed, run.n_items)
                may_repeat = had if not notes else np.zeros_like(had)
                chosen, is_pinned, is_drawn = by_rules(run, pool, rules, allowed, may_repeat, ask.k, seed)
                chosen = with_reasons(chosen, pool, run, user, config, is_pinned, is_drawn)
            return Choice(strategy, chosen, [*notes, FEWER] if len(chosen) < ask.k else notes)
    return Choice("popular", NOTHING, [])


def _let_go(
    run: PublishedRun, rules: ItemRules, ask: Ask, had: np.ndarray, finished: np.ndarray | None
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """What may be shown, bool [items], and what was given up for it, step by step."""
    available_only = rules.rules.filters.available_only if ask.available_only is None else ask.available_only
    base = rules.is_allowed & (run.is_candidate if available_only else run.exists)
    if run.prerequisites is not None and finished is not None:
        base &= run.prerequisites.open_to_one(finished)
    wished = base & run.in_categories(ask.categories) if ask.categories else base
    kept = ~run.members(run.positions_of(ask.exclude)) if ask.exclude else True
    unseen = ~had
    yield (wished if rules.rules.repeats.most else wished & unseen) & kept, []
    yield wished & kept, [ALL_SEEN]
    if ask.categories:
        yield base & unseen & kept, [NO_SUCH_CATEGORY]
        yield base & kept, [NO_SUCH_CATEGORY, ALL_SEEN]
    yield base, [ALL_EXCLUDED]


def _by_score(
    run: PublishedRun, pool: Pool, allowed: np.ndarray, k: int, user: UserState, config: ServingConfig,
    listed: PublishedList | None,
) -> Scored:  # fmt: skip
    pool = filled(run, pool, allowed, k)
    chosen = by_score(pool, k)
    if listed is not None and listed.reasons and not len(user.history):
        return with_nightly_reasons(chosen, listed)
    return with_reasons(chosen, pool, run, user, config)


_Offer = Callable[[PublishedRun, UserState, PublishedList, np.ndarray, int, ServingConfig], Pool | None]


def _real_time(
    run: PublishedRun, user: UserState, listed: PublishedList, allowed: np.ndarray, k: int, config: ServingConfig
) -> Pool | None:
    if user.vector is None or not allowed.any():
        return None
    return real_time_pool(run, user, listed, allowed, k, config)


_POOLS: dict[Strategy, _Offer] = {
    "real-time": _real_time,
    "published": lambda run, _user, listed, allowed, _k, _config: published_pool(run, listed, allowed),
    "similar": lambda run, user, _listed, allowed, k, config: similar_pool(run, user, allowed, k, config),
    "popular-in-category": lambda run, user, _listed, allowed, _k, config: category_pool(run, user, allowed, config),
    "popular": lambda run, _user, _listed, allowed, _k, _config: popular_pool(run, allowed),
}
"""What each strategy offers; None where it has nothing."""
