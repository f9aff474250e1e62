"""How much each modality counts, learned from what is consumed together: no label is needed.

Fisher's linear discriminant between co-consumed pairs of items and pairs of the same items put together at random, on
the cosines of each modality, with weights of at least 0. Dropping modalities at random while learning has a closed
form, a larger diagonal (Wager, Wang and Liang 2013, arXiv 1307.1493): no modality is leant on alone.
"""

from collections.abc import Mapping

import numpy as np

from genre_pipeline.contracts.errors import TrainingError

_BLOCK = 65_536


def co_consumed_pairs(users: np.ndarray, items: np.ndarray, most: int, seed: int) -> np.ndarray:
    """int64 [pairs, 2]: items that one user had one after the other; at most `most`, drawn at random.

    `users` and `items` are positions, int64 [n], each user's interactions together in order of time. A repeat of one
    item is no pair.
    """
    is_pair = (users[1:] == users[:-1]) & (items[1:] != items[:-1])
    at = np.flatnonzero(is_pair)
    if len(at) > most:
        at = np.sort(np.random.default_rng(seed).choice(at, most, replace=False))
    return np.stack([items[at], items[at + 1]], axis=1).astype(np.int64)


def fit_gates(
    rows: Mapping[str, np.ndarray],
    pairs: np.ndarray,
    dropout: float,
    least: float,
    seed: int,
    *,
    later: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """A weight by modality, adding up to 1, of rows float32 [n, d] of length 1 (zeros where missing).

    `later` are the same items as seen where they come second in a pair, changed at random; `rows` unless given.
    `pairs` are positions int64 [pairs, 2] of items consumed together; `dropout`, 0 to below 1, is the chance that a
    pair does not show a modality. A modality that no two paired items have in common counts as the average one, and
    none counts less than `least` of all: an item may have nothing else.

    Raises:
        TrainingError: no pair shows any modality twice.
    """
    from scipy.optimize import nnls

    shuffled = np.stack([pairs[:, 0], np.random.default_rng(seed).permutation(pairs[:, 1])], axis=1)
    later, shuffled = later or rows, shuffled[shuffled[:, 0] != shuffled[:, 1]]
    together, apart = _cosines(rows, later, pairs), _cosines(rows, later, shuffled)
    seen = np.asarray(np.isfinite(together).any(axis=0) & np.isfinite(apart).any(axis=0))
    if not seen.any():
        raise TrainingError(
            "No two items that were consumed together have a modality in common, so gates cannot be learned",
            remedy="Use the fusion `mean`, or add text, pictures or sounds to the items that are interacted with.",
        )
    together, apart = together[:, seen], apart[:, seen]
    gap = np.nanmean(together, axis=0) - np.nanmean(apart, axis=0)  # [modalities]
    spread = _covariance(together) + _covariance(apart)
    spread[np.diag_indices_from(spread)] /= 1 - dropout
    spread += (1e-6 + 1e-3 * spread.trace() / len(spread)) * np.eye(len(spread))
    weights, _residual = nnls(_root(spread), np.linalg.solve(_root(spread).T, gap))
    if not weights.any():  # nothing tells them apart
        weights = np.ones(len(gap))
    full = np.full(len(rows), weights.mean())
    full[seen] = weights
    full = np.maximum(full / full.sum(), least)
    return {name: float(weight) for name, weight in zip(rows, full / full.sum(), strict=True)}


def _cosines(rows: Mapping[str, np.ndarray], later: Mapping[str, np.ndarray], pairs: np.ndarray) -> np.ndarray:
    """float64 [pairs, modalities], NaN where one of the two lacks the modality."""
    found = np.full((len(pairs), len(rows)), np.nan)
    for column, (name, vectors) in enumerate(rows.items()):
        others = later[name]
        has_left, has_right = np.asarray(vectors.any(axis=1)), np.asarray(others.any(axis=1))
        for start in range(0, len(pairs), _BLOCK):
            left, right = pairs[start : start + _BLOCK].T
            both = np.flatnonzero(has_left[left] & has_right[right])
            cosine = np.einsum("ij,ij->i", vectors[left[both]], others[right[both]])
            found[start + both, column] = cosine
    return found


def _covariance(cosines: np.ndarray) -> np.ndarray:
    """Pairwise present, made positive semi-definite: [modalities, modalities]."""
    present = np.isfinite(cosines)
    centred = np.where(present, cosines - np.nanmean(cosines, axis=0), 0)
    counts = np.maximum(1, present.T.astype(np.float64) @ present)
    values, vectors = np.linalg.eigh(centred.T @ centred / counts)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def _root(matrix: np.ndarray) -> np.ndarray:
    """R with RᵀR = matrix."""
    return np.asarray(np.linalg.cholesky(matrix).T)
