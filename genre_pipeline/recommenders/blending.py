"""How much to trust each recommender: weights on calibrated scores, chosen for nDCG@10 on validation users.

Scores of different recommenders live on different scales. Each user's scores are mapped to 0 … 1 over what may be
shown to that user, and the square root is taken: it keeps order and confidence, and stops one outlier from
deciding a list alone. (Measured against z-scores, plain min-max, log-shares and reciprocal ranks on three data sets.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import model_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, mask_unseen, top_k, user_blocks
from genre_pipeline.recommenders.validation import DISCOUNTS, IDEAL, K, Validation

if TYPE_CHECKING:
    import torch


class BlendWeights(Settings):
    """The weight of each part for users of each history length: data, kept beside what it made."""

    parts: tuple[str, ...]
    """Names of the blended recommenders."""
    edges: tuple[int, ...] = ()
    """History lengths at which the next segment starts: (6, 21) means 0–5, 6–20, 21 and more."""
    weights: tuple[tuple[float, ...], ...]
    """One row a segment, one weight a part; rows sum to 1."""

    @model_validator(mode="after")
    def _has_a_row_for_each_segment(self) -> Self:
        if len(self.weights) != len(self.edges) + 1 or any(len(row) != len(self.parts) for row in self.weights):
            raise ValueError(f"{len(self.edges) + 1} segments by {len(self.parts)} parts are needed")
        return self

    def of(self, history_lengths: np.ndarray) -> np.ndarray:
        """float32 [users, parts]: each user's weights."""
        return np.asarray(self.weights, dtype=np.float32)[np.searchsorted(self.edges, history_lengths, side="right")]


@dataclass(frozen=True)
class Pool:
    """The union of each part's best candidates for the validation users: all that a blend could put on top."""

    scores: torch.Tensor
    """float32 [users, pool, parts]: calibrated."""
    taken: torch.Tensor
    """float32 [users, pool]: 1 where the user took the item later."""
    is_real: torch.Tensor
    """bool [users, pool]: False for padding."""
    ideal: torch.Tensor
    """float32 [users]: the best possible DCG@10."""

    def ndcg(self, weights: np.ndarray) -> torch.Tensor:
        """float32 [users]: nDCG@10 of the blend with one weight vector [parts]."""
        import torch

        blended = (self.scores @ torch.from_numpy(weights.astype(np.float32))).masked_fill(~self.is_real, -torch.inf)
        # Ties as in the lists, or a part of many equal scores would be judged for another order.
        best = torch.from_numpy(top_k(blended.numpy(), K)[0])
        discounts = torch.from_numpy(DISCOUNTS)[: best.shape[1]]
        gains: torch.Tensor = self.taken.gather(1, best) @ discounts
        return gains / self.ideal


def calibrate(scores: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """float32 [users, items] in 0 … 1: √ of min-max over the entries where `shown`; others and -inf become 0."""
    usable = shown & np.isfinite(scores)
    low = scores.min(axis=1, keepdims=True, where=usable, initial=np.inf)
    high = scores.max(axis=1, keepdims=True, where=usable, initial=-np.inf)
    # A user whose scores are all alike, or who has none, is told nothing: everything becomes 0.
    span = np.where(high > low, high - low, np.inf)
    above = np.subtract(scores, low, out=np.zeros_like(scores), where=usable)
    return np.asarray(np.sqrt(np.clip(above / span, 0.0, 1.0)), dtype=np.float32)


def pool_candidates(parts: Mapping[str, Recommender], data: TrainingSet, validation: Validation, *, depth: int) -> Pool:
    """Each part's `depth` best unseen candidates, joined, with every part's calibrated score for them."""
    import torch

    scores, taken, is_real = [], [], []
    for rows in user_blocks(np.arange(len(validation.users))):
        users = validation.users[rows]
        shown = shown_to(data, users)
        calibrated = [calibrate(part.blend_score(users), shown) for part in parts.values()]
        joined, real = _joined([top_k(np.where(shown, block, -np.inf), depth)[0] for block in calibrated], shown)
        scores.append(np.stack([np.take_along_axis(block, joined, axis=1) for block in calibrated], axis=2))
        hits = np.asarray(validation.taken[np.repeat(rows, joined.shape[1]), joined.ravel()]).reshape(joined.shape)
        taken.append(hits & real)
        is_real.append(real)
    ideal = IDEAL[np.minimum(validation.counts, K) - 1]
    return Pool(
        torch.from_numpy(np.concatenate(scores)),
        torch.from_numpy(np.concatenate(taken).astype(np.float32)),
        torch.from_numpy(np.concatenate(is_real)),
        torch.from_numpy(ideal.astype(np.float32)),
    )


def shown_to(data: TrainingSet, users: np.ndarray) -> np.ndarray:
    """bool [users, items]: unseen candidates of each user."""
    blank = np.zeros((len(users), data.n_items), dtype=np.float32)
    return np.asarray(np.isfinite(mask_unseen(blank, data, users, data.is_candidate)))


def choose_weights(
    pool: Pool, parts: Sequence[str], history_lengths: np.ndarray, *, edges: Sequence[int], trials: int,
    min_segment_users: int, seed: int,
) -> BlendWeights:  # fmt: skip
    """Search one vector for everybody, then one a segment where a segment is large enough and gains for sure.

    A segment departs from the common weights only if its own are better by more than one standard error of the paired
    difference: validation windows are small, and a blend tuned to noise loses on the next one.
    """
    import torch

    generator = np.random.default_rng(seed)
    common = _search(pool, _starting_points(len(parts), trials // 2, generator), trials // 2, generator)
    rows = np.searchsorted(edges, history_lengths, side="right")
    chosen = []
    for segment in range(len(edges) + 1):
        inside = torch.from_numpy(np.flatnonzero(rows == segment))
        enough = len(inside) >= min_segment_users
        chosen.append(_segment_weights(_subset(pool, inside), common, trials // 2, generator) if enough else common)
    as_data = tuple(tuple(round(float(weight), 6) for weight in row) for row in chosen)
    return BlendWeights(parts=tuple(parts), edges=tuple(edges), weights=as_data)


def _joined(tops: list[np.ndarray], shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    joined = np.sort(np.concatenate(tops, axis=1), axis=1)
    repeated = np.zeros(joined.shape, dtype=bool)
    repeated[:, 1:] = joined[:, 1:] == joined[:, :-1]
    return joined, ~repeated & np.take_along_axis(shown, joined, axis=1)


def _starting_points(parts: int, n: int, generator: np.random.Generator) -> list[np.ndarray]:
    return [*np.eye(parts), np.full(parts, 1 / parts), *generator.dirichlet(np.full(parts, 0.4), size=n)]


def _search(pool: Pool, starts: list[np.ndarray], steps: int, generator: np.random.Generator) -> np.ndarray:
    """The best start, then a random local search around the best so far: no derivative, nDCG itself is the goal."""
    values = [float(pool.ndcg(weights).mean()) for weights in starts]
    value = max(values)
    best = starts[values.index(value)]
    for _ in range(steps):
        moved = _moved(best, generator)
        moved_value = float(pool.ndcg(moved).mean())
        if moved_value > value:
            best, value = moved, moved_value
    return best


def _moved(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    scaled = weights * np.exp(generator.normal(0, 0.3, len(weights)) * (generator.random(len(weights)) < 0.4))
    raised = scaled + (generator.random(len(weights)) < 0.15) * generator.random(len(weights)) * 0.1
    return np.asarray(raised / raised.sum())


def _segment_weights(pool: Pool, common: np.ndarray, steps: int, generator: np.random.Generator) -> np.ndarray:
    own = _search(pool, [common], steps, generator)
    gain = pool.ndcg(own) - pool.ndcg(common)
    standard_error = float(gain.std()) / max(len(gain), 1) ** 0.5
    return own if float(gain.mean()) > standard_error else common


def _subset(pool: Pool, rows: torch.Tensor) -> Pool:
    return Pool(pool.scores[rows], pool.taken[rows], pool.is_real[rows], pool.ideal[rows])
