"""A bound on what generated text can do to anybody's list: no item stands far from where it stands without it.

Two recommenders of the same data, one without generation and one with it, give one order: that of the second, in which
every item is at most so many places from its place in the first. It holds by construction, whatever a model wrote and
whoever told it to: a text that gets itself praised moves its item by the bound, in every list, and no further.
"""

from typing import ClassVar, Self

import numpy as np

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, top_k
from genre_pipeline.recommenders.blending import shown_to
from genre_pipeline.recommenders.hybrid import Blend, HybridRecommender

_NO_CANDIDATE, _NO_OPINION = np.finfo(np.float32).min, np.finfo(np.float32).min / 2
DEPTH = 200
"""Places that are filled by the enriched order; below them stands the order without generation, which bounds too."""


class BoundedRecommender(Recommender):
    """The enriched recommender's order, clamped to the plain one's. Both are fitted already, on the same users."""

    name: ClassVar[str] = "bounded"

    def __init__(self, plain: Recommender, enriched: Recommender, max_rank_shift: int) -> None:
        self.plain, self.rich, self.max_rank_shift = plain, enriched, max_rank_shift
        self.config: Settings = plain.config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Takes note of who has had what: places are counted among items that may be shown."""
        self.data = data
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        """The plain scores, handed out in the clamped order; -inf where the plain recommender has no opinion, or
        nothing may be shown.
        """
        shown = shown_to(self.data, users)
        plain = np.where(shown, self.plain.score(users), -np.inf)
        enriched = np.where(shown, self.rich.score(users), -np.inf)
        return clamped(plain, enriched, self.max_rank_shift)


class BoundedHybrid(BoundedRecommender, Blend):
    """A bounded hybrid: its parts and what they gave are those of the hybrid with generation."""

    name: ClassVar[str] = HybridRecommender.name

    def __init__(self, plain: HybridRecommender, enriched: HybridRecommender, max_rank_shift: int) -> None:
        super().__init__(plain, enriched, max_rank_shift)
        self.parts, self._given_by = enriched.parts, enriched

    def contributions(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As the hybrid's."""
        return self._given_by.contributions(users, items)


def bounded(plain: Recommender, enriched: Recommender, max_rank_shift: int, data: TrainingSet) -> BoundedRecommender:
    """The kind that fits the two, over the users, items and candidates of `data`."""
    if isinstance(plain, HybridRecommender) and isinstance(enriched, HybridRecommender):
        return BoundedHybrid(plain, enriched, max_rank_shift).fit(data, seed=0)
    return BoundedRecommender(plain, enriched, max_rank_shift).fit(data, seed=0)


def reopened(part: Recommender, data: TrainingSet) -> Recommender:
    """`part`, a fitted recommender, over the same users and items with other candidates; `part` stays as it is."""
    if isinstance(part, HybridRecommender):
        return HybridRecommender(part.parts, part.weights).fit(data, seed=0)
    if isinstance(part, BoundedRecommender):
        return bounded(reopened(part.plain, data), reopened(part.rich, data), part.max_rank_shift, data)
    return part


def clamped(plain: np.ndarray, enriched: np.ndarray, max_shift: int, depth: int = DEPTH) -> np.ndarray:
    """float32 [users, items]: scores of an order in which no item is more than `max_shift` places from that of `plain`.

    Both are float32 [users, items]; -inf in `plain` is no candidate and stays so, -inf in `enriched` is the worst.
    The first `depth` places are taken from the enriched order, what is left follows in the order of `plain`. Equal
    scores go to the higher place in `plain`. The scores are those of `plain`, handed out in the new order.
    """
    window = min(depth + max_shift, plain.shape[1])
    order, best = top_k(plain, window)  # [users, window] both: items in the order of `plain`, and their scores
    wanted = np.take_along_axis(enriched, order, axis=1)
    wanted = np.where(np.isfinite(wanted), wanted, _NO_OPINION)
    wanted[np.isneginf(best)] = _NO_CANDIDATE
    places = clamped_places(wanted, max_shift, min(depth, window))
    scores = plain.copy()
    np.put_along_axis(scores, order, -np.inf, axis=1)
    ladder = _ladder(best, scores.max(axis=1))
    ladder[np.isneginf(np.take_along_axis(best, places, axis=1))] = -np.inf
    np.put_along_axis(scores, np.take_along_axis(order, places, axis=1), ladder, axis=1)
    return scores


def _ladder(best: np.ndarray, below: np.ndarray) -> np.ndarray:
    """float32 [users, window]: the plain scores of the first places, set apart where they are equal.

    Each is above the next by a bit at least, and the last above `below` [users], the best of the rest.
    """
    ladder = best.copy()
    next_up = below
    for place in range(best.shape[1] - 1, -1, -1):
        floor = np.where(np.isfinite(next_up), np.nextafter(next_up, np.float32(np.inf)), -np.inf)
        next_up = ladder[:, place] = np.maximum(best[:, place], floor)
    return ladder


def clamped_places(wanted: np.ndarray, max_shift: int, depth: int) -> np.ndarray:
    """int64 [users, window]: which place of the plain order stands at each place of the clamped one.

    `wanted` float32 [users, window] are the enriched scores in the plain order. A place goes to the item whose last
    chance it is, else to the best of those that may stand so high. Every place is the last chance of one item at most,
    so that each gets its own in time. Places from `depth` on keep the plain order of what is left.
    """
    users, window = wanted.shape
    rows = np.arange(users)
    free = wanted.copy()
    places = np.empty((users, window), dtype=np.int64)
    for place in range(depth):
        low, high = max(place - max_shift, 0), min(place + max_shift + 1, window)
        chosen = low + free[:, low:high].argmax(axis=1)
        if place >= max_shift:
            chosen = np.where(np.isneginf(free[:, low]), chosen, low)
        places[:, place] = chosen
        free[rows, chosen] = -np.inf
    places[:, depth:] = np.argsort(np.isneginf(free), axis=1, kind="stable")[:, : window - depth]
    return places
