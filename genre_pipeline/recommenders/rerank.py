"""From scores to lists under rules: one greedy pass, rank by rank, for a block of users at once.

At each rank the best candidate that the rules leave is taken: pinned items first, at ranks of chance an item drawn by
chance, else by score, or by maximal marginal relevance (Carbonell and Goldstein 1998, SIGIR). Memory: users × pool ×
(8 + 4 × categories of an item) bytes, and users × pool × pool × 4 where items are compared.
"""

from dataclasses import dataclass

import numpy as np

from genre_pipeline.recommenders.base import top_k
from genre_pipeline.recommenders.rules import ItemRules
from genre_pipeline.recommenders.variants import draws

_POOL, _POOL_PER_RANK = 200, 4
_SPARE_DRAWS = 16
_FIRST = np.float32(1e6)
"""Above every score: where pinned items and drawn ones stand at their ranks."""


@dataclass(frozen=True)
class Block:
    """What a block of users may be shown, and how well it fits."""

    scores: np.ndarray
    """float32 [users, items]: -inf where an item is no candidate of the user."""
    is_allowed: np.ndarray
    """bool [users, items]: what may be pinned or drawn, candidate or not; without what the user has had."""
    had: np.ndarray | None
    """bool [users, items]: what the user has had; None where repeats are not asked for."""
    seeds: np.ndarray
    """uint64 [users]: where chance starts."""


@dataclass(frozen=True)
class Chosen:
    """Lists, best first; a list that has run out ends in position -1."""

    positions: np.ndarray
    """int64 [users, k]."""
    scores: np.ndarray
    """float32 [users, k]: with the boost for freshness; -inf beside position -1."""
    is_pinned: np.ndarray
    """bool [users, k]."""
    is_drawn: np.ndarray
    """bool [users, k]: shown by chance."""


def rerank(block: Block, rules: ItemRules, k: int) -> Chosen:
    """Each user's `k` items in the order in which the rules choose them; fewer where no more keep the rules.

    Where the rules ask for nothing, this is `top_k`: equal scores go to the smaller position.
    """
    scores = np.where(rules.is_allowed, block.scores + rules.boost, -np.inf).astype(np.float32)
    depth = min(max(_POOL, _POOL_PER_RANK * k), scores.shape[1])
    chosen = _choose(scores, block, rules, k, depth)
    short = np.flatnonzero(chosen.positions[:, -1] < 0) if k else np.empty(0, dtype=np.int64)
    if not len(short) or depth == scores.shape[1]:
        return chosen
    # The best candidates were too much alike for a cap: these few users choose from everything.
    had = None if block.had is None else block.had[short]
    rest = Block(block.scores[short], block.is_allowed[short], had, block.seeds[short])
    again = _choose(scores[short], rest, rules, k, scores.shape[1])
    for ours, theirs in zip(vars(chosen).values(), vars(again).values(), strict=True):
        ours[short] = theirs
    return chosen


@dataclass(frozen=True)
class _Pool:
    """Candidates of a block by column: pinned items, then the best, then those drawn."""

    items: np.ndarray
    """int64 [users, pool]."""
    scores: np.ndarray
    """float32 [users, pool]: shown beside an item."""
    is_open: np.ndarray
    """bool [users, pool]: may be chosen still. Changes as ranks are filled."""
    is_pinned: np.ndarray
    """bool [pool]."""
    is_drawn: np.ndarray
    """bool [pool]."""
    is_repeat: np.ndarray
    """bool [users, pool]."""


def _choose(scores: np.ndarray, block: Block, rules: ItemRules, k: int, depth: int) -> Chosen:
    pool = _pool(scores, block, rules, k, depth)
    users = np.arange(len(scores))
    kinds = [
        _Cap(rules.categories[pool.items], rules.categories, rules.rules.caps.per_category),
        _Cap(rules.creators[pool.items], rules.creators, rules.rules.caps.per_creator),
    ]
    repeats = _Repeats(pool, rules, k)
    counters: list[_Cap | _Repeats] = [*kinds, repeats]
    value = _Relevance(pool, rules)
    chance = _ranks_of_chance(block.seeds, rules, k)
    positions = np.full((len(scores), k), -1, dtype=np.int64)
    shown = np.full((len(scores), k), -np.inf, dtype=np.float32)
    columns = np.zeros((len(scores), k), dtype=np.int64)
    goes_on = np.ones(len(scores), dtype=bool)
    for rank in range(k):
        if rank % rules.rules.window == 0:
            for counted in counters:
                counted.start_window()
        is_free = pool.is_open.copy()
        for cap in kinds:
            is_free &= cap.leave() | pool.is_pinned
        is_free &= repeats.leave(rank, is_free)
        column = _best(pool, value.values(), is_free, chance[:, rank])
        goes_on &= is_free[users, column] & np.isfinite(pool.scores[users, column])
        at = users[goes_on]
        positions[at, rank] = pool.items[at, column[at]]
        shown[at, rank] = pool.scores[at, column[at]]
        columns[at, rank] = column[at]
        pool.is_open[at] &= pool.items[at] != positions[at, rank][:, None]
        for counted in counters:
            counted.count(at, column[at])
        value.take(at, column[at])
    is_there = positions >= 0
    return Chosen(positions, shown, pool.is_pinned[columns] & is_there, pool.is_drawn[columns] & is_there)


def _pool(scores: np.ndarray, block: Block, rules: ItemRules, k: int, depth: int) -> _Pool:
    most, windows = rules.rules.repeats.most, -(-k // rules.rules.window)
    fresh = scores if block.had is None else np.where(block.had, -np.inf, scores).astype(np.float32)
    parts = [top_k(fresh, depth)]
    if block.had is not None and most:
        parts.append(top_k(np.where(block.had, scores, -np.inf).astype(np.float32), most * windows))
    best, best_scores = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    pinned = np.broadcast_to(rules.pinned, (len(scores), len(rules.pinned)))
    drawn = _drawn(block.seeds, rules, k, scores.shape[1])
    extra = np.concatenate([pinned, drawn], axis=1)
    may_be_extra = np.take_along_axis(block.is_allowed & rules.is_allowed, extra, axis=1)
    extra_scores = np.take_along_axis(scores, extra, axis=1)
    extra_scores = np.where(np.isfinite(extra_scores), extra_scores, rules.boost[extra])
    extra_scores = np.where(may_be_extra, extra_scores, -np.inf).astype(np.float32)
    n_pinned = len(rules.pinned)
    items = np.concatenate([pinned, best, drawn], axis=1)
    shown = np.concatenate([extra_scores[:, :n_pinned], best_scores, extra_scores[:, n_pinned:]], axis=1)
    column = np.arange(items.shape[1])
    return _Pool(
        items=items,
        scores=shown,
        is_open=np.isfinite(shown),
        is_pinned=column < n_pinned,
        is_drawn=column >= n_pinned + best.shape[1],
        is_repeat=np.zeros(items.shape, dtype=bool) if block.had is None
        else np.take_along_axis(block.had, items, axis=1),
    )  # fmt: skip


def _best(pool: _Pool, values: np.ndarray, is_free: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """int64 [users]: the column to take next; equal values go to the smaller column."""
    order = np.arange(values.shape[1], dtype=np.float32)
    ranked = np.where(pool.is_pinned, 2 * _FIRST - order, values)
    # Drawn items are taken in the order of drawing, at ranks of chance only; there only pinned items go before them.
    is_due = is_free & np.where(pool.is_drawn, by_chance[:, None], True)
    ranked = np.where(pool.is_drawn, _FIRST - order, ranked)
    return np.asarray(np.where(is_due, ranked, -np.inf).argmax(axis=1))


def _slots(rules: ItemRules) -> int:
    """Ranks of chance in a window."""
    return round(rules.rules.exploration_share * rules.rules.window)


def _drawn(seeds: np.ndarray, rules: ItemRules, k: int, n_items: int) -> np.ndarray:
    wanted = _slots(rules) * -(-k // rules.rules.window)
    count = 4 * wanted + _SPARE_DRAWS if wanted else 0
    return (draws(seeds, count) % np.uint64(max(n_items, 1))).astype(np.int64)


def _ranks_of_chance(seeds: np.ndarray, rules: ItemRules, k: int) -> np.ndarray:
    """bool [users, k]: in each window, as many ranks of each user as exploration asks for."""
    window, slots = rules.rules.window, _slots(rules)
    windows = -(-k // window)
    order = draws(seeds ^ np.uint64(0xA5A5A5A5A5A5A5A5), windows * window).reshape(len(seeds), windows, window)
    is_chance = order.argsort(axis=2, kind="stable").argsort(axis=2) < slots
    return is_chance.reshape(len(seeds), windows * window)[:, :k]


class _Cap:
    """How many items of each kind the running window holds."""

    def __init__(self, of_pool: np.ndarray, of_items: np.ndarray, most: int | None) -> None:
        self._codes, self._most = of_pool, most
        n_kinds = int(of_items.max(initial=-1)) + 1
        # The last column stands for "none" (-1), which is never counted.
        self._counts = np.zeros((len(of_pool), n_kinds + 1), dtype=np.int32)

    def start_window(self) -> None:
        self._counts[:] = 0

    def leave(self) -> np.ndarray:
        """bool [users, pool]: what the cap leaves."""
        if self._most is None or not self._codes.shape[2]:
            return np.ones(self._codes.shape[:2], dtype=bool)
        held = np.take_along_axis(self._counts, self._codes.reshape(len(self._codes), -1), axis=1)
        return np.asarray((held.reshape(self._codes.shape) < self._most).all(axis=2))

    def count(self, users: np.ndarray, columns: np.ndarray) -> None:
        codes = self._codes[users, columns]
        np.add.at(self._counts, (np.repeat(users, codes.shape[1]), codes.ravel()), 1)
        self._counts[:, -1] = 0


class _Repeats:
    """How many repeats the running window holds, and how many it still has to."""

    def __init__(self, pool: _Pool, rules: ItemRules, k: int) -> None:
        self._pool, self._config, self._window, self._k = pool, rules.rules.repeats, rules.rules.window, k
        self._counts = np.zeros(len(pool.items), dtype=np.int32)

    def start_window(self) -> None:
        self._counts[:] = 0

    def leave(self, rank: int, is_free: np.ndarray) -> np.ndarray:
        """bool [users, pool]: what may be taken at `rank`, of what else `is_free`; caps go before repeats."""
        repeat = self._pool.is_repeat
        left = np.where(repeat, (self._counts < self._config.most)[:, None], True)
        end = min(self._k, rank - rank % self._window + self._window)
        must = (self._config.least - self._counts >= end - rank) & (is_free & repeat).any(axis=1)
        return np.asarray(np.where(must[:, None], repeat & left, left))

    def count(self, users: np.ndarray, columns: np.ndarray) -> None:
        self._counts[users] += self._pool.is_repeat[users, columns]


class _Relevance:
    """What the next item is worth: its score, or with λ < 1 also how it differs from what is listed."""

    def __init__(self, pool: _Pool, rules: ItemRules) -> None:
        self._share, self._scores = rules.rules.relevance_share, pool.scores
        self._vectors: np.ndarray | None = None
        if self._share < 1:
            self._vectors = rules.vectors[pool.items]  # [users, pool, width]
            self._likeness = np.zeros(pool.items.shape, dtype=np.float32)
            self._scores = _scaled(pool.scores)

    def values(self) -> np.ndarray:
        """float32 [users, pool]."""
        if self._vectors is None:
            return self._scores
        return np.asarray(self._share * self._scores - (1 - self._share) * self._likeness)

    def take(self, users: np.ndarray, columns: np.ndarray) -> None:
        if self._vectors is None:
            return
        taken = self._vectors[users, columns]  # [users, width]
        cosine = np.matmul(self._vectors[users], taken[:, :, None])[:, :, 0]
        self._likeness[users] = np.maximum(self._likeness[users], cosine)


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Each row onto 0 … 1; what is no candidate stays below."""
    is_real = np.isfinite(scores)
    low = np.where(is_real, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(is_real, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    span = np.where(high > low, high - low, 1)
    return np.where(is_real, (np.where(is_real, scores, 0) - np.where(is_real, low, 0)) / span, 0).astype(np.float32)
