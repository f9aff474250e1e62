"""The one contract of all recommenders, and the one way from scores to lists.

A recommender learns from a `TrainingSet` and gives each user a score for every item, in blocks. It never decides what
may be shown: seen and unavailable items, ties and cold users are settled here, once, for everybody.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, RANK, SCORE, USER_ID
from genre_pipeline.contracts.errors import UnknownUserError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet

ColdUsers = Literal["popular", "omit", "error"]
"""What a user without interactions gets: the popular list, no rows, or an `UnknownUserError`."""
USER_BLOCK = 256
Report = Callable[[int, int], None]
"""Progress: (done, total)."""


class Recommender(ABC):
    """Scores every item for every user. Subclasses take their config and nothing else in the constructor."""

    name: ClassVar[str]
    """How the recommender is called in tables, reports and `genre.yaml`."""
    config: Settings
    """What it was built from."""

    @abstractmethod
    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Learn from `data`. Deterministic: the same data and seed give the same scores."""

    def enriched(self, data: TrainingSet) -> "Recommender":
        """This recommender, fitted, with what generation says of items and users (`Enrichment.data`).

        What it learned from everybody is kept: only the vectors of items, and the sides of users whose own histories
        and profiles gain something, may change. The same object where nothing does.
        """
        del data
        return self

    @abstractmethod
    def score(self, users: np.ndarray) -> np.ndarray:
        """float32 [len(users), items]: higher is better; -inf where there is no opinion; never NaN.

        `users` are int positions in the `TrainingSet` of `fit`.
        """

    def blend_score(self, users: np.ndarray) -> np.ndarray:
        """What this recommender brings to a blend, in the form of `score`; settings are tuned on it.

        It is `score`, unless a part of that is another recommender's to say.
        """
        return self.score(users)


def recommend(
    recommender: Recommender,
    data: TrainingSet,
    user_ids: pl.Series,
    *,
    k: int,
    cold_users: ColdUsers,
    popular: np.ndarray,
    candidates: np.ndarray | None = None,
    report: Report | None = None,
) -> pl.DataFrame:
    """Each user's `k` best unseen candidates, in the schema `Recommendations`, in the order of `user_ids`.

    `popular` is float32 [items], the scores that a cold user's list is made of under the policy "popular".
    `candidates` is bool [items] and defaults to `data.is_candidate`. Items a user has had in `data` are left out. Ties
    go to the smaller item id. A user with fewer than `k` possible items gets a shorter list.

    Raises `UnknownUserError` for users without interactions under the policy "error".
    """
    allowed = data.is_candidate if candidates is None else candidates
    positions = data.user_positions(user_ids)
    if cold_users == "error" and (positions < 0).any():
        unknown = user_ids.filter(pl.Series(positions < 0)).to_list()
        raise UnknownUserError(
            "Users without a single interaction", remedy='Give them cold_users="popular".', culprits=unknown
        )
    known = np.flatnonzero(positions >= 0)
    blocks = [
        _listed(known[rows], *top)
        for rows, top in _ranked_blocks(recommender, data, positions[known], k, allowed, report)
    ]
    if cold_users == "popular" and len(known) < len(positions):
        blocks.append(_cold_lists(np.flatnonzero(positions < 0), popular, k, allowed))
    return _frame(blocks, user_ids, data.item_ids)


def mask_unseen(scores: np.ndarray, data: TrainingSet, users: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Set what must not be shown to -inf, in place: items outside `allowed` and items a user has had."""
    scores[:, ~allowed] = -np.inf
    seen = data.matrix[users]
    scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    return scores


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 [rows, k] and scores float32 [rows, k] of each row's best, best first.

    Ties go to the smaller position. Entries of -inf are no candidates; where they appear the row has run out.
    """
    import torch

    k = min(k, scores.shape[1])
    block = torch.from_numpy(scores)
    best, where = torch.topk(block, k, dim=1)
    tied = ((block >= best[:, -1:]).sum(dim=1) > k) & torch.isfinite(best[:, -1])
    if bool(tied.any()):
        ordered = torch.sort(block[tied], dim=1, descending=True, stable=True)
        best[tied], where[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    by_position = torch.argsort(where, dim=1)
    best, where = best.gather(1, by_position), where.gather(1, by_position)
    by_score = torch.sort(best, dim=1, descending=True, stable=True)
    return where.gather(1, by_score.indices).numpy(), by_score.values.numpy()


def user_blocks(users: np.ndarray, size: int = USER_BLOCK) -> Iterator[np.ndarray]:
    """`users` in runs of `size`, so that memory is bounded by the block and the catalogue."""
    for start in range(0, len(users), size):
        yield users[start : start + size]


def _ranked_blocks(
    recommender: Recommender, data: TrainingSet, users: np.ndarray, k: int, allowed: np.ndarray, report: Report | None
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    for rows in user_blocks(np.arange(len(users))):
        block = users[rows]
        yield rows, top_k(mask_unseen(recommender.score(block), data, block, allowed), k)
        if report is not None:
            report(int(rows[-1]) + 1, len(users))


def _cold_lists(
    rows: np.ndarray, popular: np.ndarray, k: int, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    where, best = top_k(np.where(allowed, popular, -np.inf).astype(np.float32)[None, :], k)
    return _listed(rows, np.repeat(where, len(rows), axis=0), np.repeat(best, len(rows), axis=0))


def _listed(
    rows: np.ndarray, where: np.ndarray, best: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    finite = np.isfinite(best)
    ranks = np.broadcast_to(np.arange(1, best.shape[1] + 1, dtype=np.uint32), best.shape)
    return np.repeat(rows, finite.sum(axis=1)), where[finite], ranks[finite], best[finite]


def _frame(
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], user_ids: pl.Series, item_ids: pl.Series
) -> pl.DataFrame:
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32))
    rows, items, ranks, scores = (np.concatenate(parts) for parts in zip(empty, *blocks, strict=True))
    order = np.lexsort((ranks, rows))
    return pl.DataFrame(
        {
            USER_ID: user_ids.gather(rows[order]).cast(pl.String),
            ITEM_ID: item_ids.gather(items[order]).cast(pl.String),
            RANK: pl.Series(ranks[order], dtype=pl.UInt32),
            SCORE: pl.Series(scores[order], dtype=pl.Float32),
        }
    )
