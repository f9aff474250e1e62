"""Validation of a sequence model: full ranking over the unseen candidates, one nDCG per user.

Early stopping and promotion read the same number. Reports with intervals and other measures belong to `evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.training.batches import Histories, histories_of, latest_windows

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.models.sequence import SequenceModel

NDCG = "ndcg"
_USER_BLOCK = 256


@dataclass(frozen=True)
class ValidationTarget:
    """What users turned out to take after the training set's `as_of`, by position; one row a user and item."""

    users: np.ndarray
    """int64 [pairs], ascending."""
    items: np.ndarray
    """int64 [pairs]"""

    def first_users(self, most: int, seed: int) -> ValidationTarget:
        """The pairs of at most `most` users, drawn by `seed`."""
        users = np.unique(self.users)
        if len(users) <= most:
            return self
        kept = np.isin(self.users, np.random.default_rng(seed).choice(users, most, replace=False))
        return ValidationTarget(self.users[kept], self.items[kept])


def validation_target(data: TrainingSet, truth: pl.DataFrame) -> ValidationTarget:
    """The rows (user_id, item_id) of `truth` whose user and item `data` knows; the others cannot be ranked.

    Raises `TrainingError` where none is left.
    """
    users, items = data.user_positions(truth[USER_ID]), data.item_positions(truth[ITEM_ID])
    pairs = np.unique(np.stack([users, items], axis=1)[(users >= 0) & (items >= 0)], axis=0)
    if not len(pairs):
        raise TrainingError(
            "No validation interaction has a user and an item that the training part knows",
            remedy="Move the cut, so that the same users appear on both sides of it.",
        )
    return ValidationTarget(pairs[:, 0], pairs[:, 1])


def user_ndcg(model: SequenceModel, data: TrainingSet, target: ValidationTarget, *, k: int = 10) -> pl.DataFrame:
    """nDCG@k of each user of `target`, binary gains, over all candidates the user has not had in `data`.

    Columns user_id (String) and ndcg (Float64), in the order of user positions.
    """
    users = np.unique(target.users)
    values = [
        _block_ndcg(block, scores, data, target, k)
        for block, scores in scored_blocks(model, data_histories(data, model.event_types), users, catalogue_of(model))
    ]
    return pl.DataFrame({USER_ID: data.user_ids.gather(users), NDCG: np.concatenate(values)})


def data_histories(data: TrainingSet, event_types: Sequence[str] = ()) -> Histories:
    """The histories of `data` with time gaps and event types numbered as the network expects them."""
    from genre_pipeline.models.sequence import TIME_BUCKETS

    return histories_of(data, time_buckets=TIME_BUCKETS, event_types=event_types)


@dataclass(frozen=True)
class Catalogue:
    """The item side of a trained model, computed once for many users."""

    table: Tensor
    """float32 [n_items, D]"""
    is_unknown: Tensor
    """bool [n_items]: known neither by id nor by content."""


def catalogue_of(model: SequenceModel) -> Catalogue:
    """The item side of `model` as it is now."""
    import torch

    model.eval()
    with torch.inference_mode():
        return Catalogue(model.table(), ~model.items.represented())


def scored_blocks(
    model: SequenceModel, histories: Histories, users: np.ndarray, catalogue: Catalogue
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(users [B], scores float32 [B, n_items]) in blocks, so that memory is bounded by a block and the catalogue.

    An item that the model knows neither by id nor by content scores -inf.
    """
    import torch

    model.eval()
    device = catalogue.table.device
    for start in range(0, len(users), _USER_BLOCK):
        block = users[start : start + _USER_BLOCK]
        cut = latest_windows(histories, block, model.config.length)
        with torch.inference_mode():
            read = [torch.from_numpy(part).to(device) for part in (cut.items, cut.lengths, cut.gaps, cut.events)]
            scores = model.score(model(*read, catalogue.table), catalogue.table)
            scores[:, catalogue.is_unknown] = -torch.inf
        yield block, scores.cpu().numpy()


def _block_ndcg(
    users: np.ndarray, scores: np.ndarray, data: TrainingSet, target: ValidationTarget, k: int
) -> np.ndarray:
    """float64 [users]."""
    begins, ends = np.searchsorted(target.users, users), np.searchsorted(target.users, users, side="right")
    scores[:, ~data.is_candidate] = -np.inf
    seen = data.matrix[users]
    scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    is_wanted = np.zeros(scores.shape, dtype=bool)
    is_wanted[np.repeat(np.arange(len(users)), ends - begins), target.items[begins[0] : ends[-1]]] = True
    k = min(k, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    gains = np.take_along_axis(is_wanted & np.isfinite(scores), best, axis=1)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(ends - begins, k) - 1]
    return (gains @ discounts) / ideal  # type: ignore[no-any-return]
