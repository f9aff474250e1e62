"""Judging recommenders on a validation window, fast enough to choose settings with: nDCG@10 by position, no frames."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, mask_unseen, top_k, user_blocks

K = 10
DISCOUNTS = (1 / np.log2(np.arange(2, K + 2))).astype(np.float32)
IDEAL = np.cumsum(DISCOUNTS)


@dataclass(frozen=True)
class Validation:
    """Users known to a `TrainingSet` and what they took later."""

    users: np.ndarray
    """int64 [users]: positions in the training set."""
    taken: sparse.csr_matrix
    """bool [users, items]: what each took later, rows as in `users`."""
    counts: np.ndarray
    """int64 [users]: how many items each took later, those outside the catalogue too."""

    def ndcg(self, rows: np.ndarray, where: np.ndarray, is_real: np.ndarray) -> np.ndarray:
        """float64 [rows]: nDCG@10 of ranked positions `where` [rows, 10]; entries not `is_real` are no hits."""
        hits = np.asarray(self.taken[np.repeat(rows, where.shape[1]), where.ravel()]).reshape(where.shape) & is_real
        width = where.shape[1]
        gains = (hits * DISCOUNTS[:width]).sum(axis=1)
        return np.asarray(gains / IDEAL[np.minimum(self.counts[rows], K) - 1])


def build_validation(data: TrainingSet, truth: pl.DataFrame, *, max_users: int, seed: int) -> Validation:
    """Positions of `truth` (user_id, item_id); above `max_users`, a seeded sample of the users.

    Raises `TrainingError` where nobody known to `data` took anything later.
    """
    users = truth[USER_ID].unique().sort()
    if len(users) > max_users:
        users = users.sample(max_users, seed=seed).sort()
    positions = data.user_positions(users)
    known = users.filter(pl.Series(positions >= 0))
    if known.is_empty():
        raise TrainingError("No known user comes back in the validation part", remedy="Give a longer history.")
    row_of = pl.DataFrame({USER_ID: known, "row": np.arange(len(known), dtype=np.int64)})
    pairs = truth.join(row_of, on=USER_ID, how="inner", maintain_order="left")
    items, rows = data.item_positions(pairs[ITEM_ID]), pairs["row"].to_numpy()
    inside = items >= 0
    taken = sparse.csr_matrix(
        (np.ones(inside.sum(), bool), (rows[inside], items[inside])), shape=(len(known), data.n_items), dtype=bool
    )
    return Validation(positions[positions >= 0], taken, np.bincount(rows, minlength=len(known)))


def validation_ndcg(recommender: Recommender, data: TrainingSet, validation: Validation) -> np.ndarray:
    """float64 [users]: nDCG@10 of each validation user, ranking every unseen candidate."""
    return validation.ndcg(np.arange(len(validation.users)), *ranked(recommender, data, validation))


def ranked(recommender: Recommender, data: TrainingSet, validation: Validation) -> tuple[np.ndarray, np.ndarray]:
    """(positions int64, whether there is an item bool), both [users, 10]: the best unseen candidates of each."""
    wheres, reals = [], []
    for rows in user_blocks(np.arange(len(validation.users))):
        users = validation.users[rows]
        where, best = top_k(mask_unseen(recommender.blend_score(users), data, users, data.is_candidate), K)
        wheres.append(where)
        reals.append(np.isfinite(best))
    return np.concatenate(wheres), np.concatenate(reals)
