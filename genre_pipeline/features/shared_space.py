"""One space for all modalities: maps under which the modalities of one item come close to one another.

Generalised canonical correlation analysis, MAXVAR (Kettenring 1971), with pairwise present rows for items that lack a
modality (van de Velden and Bijmolt 2006). A picture-only item then has neighbours among text-only ones. Closed form:
one symmetric eigenproblem of the modalities' ranks added up, whatever the number of items.
"""

from collections.abc import Mapping

import numpy as np


def fit_shared_space(
    white: Mapping[str, np.ndarray], width: int, shrinkage: float, pair_prior: float
) -> dict[str, np.ndarray]:
    """Maps float32 [rank of the modality, width or less] by modality, of whitened rows float32 [n, rank].

    The space has at most as many directions as the richest modality: with all of them, each modality would have
    directions of its own, and none would be near another.

    `shrinkage` is added to each modality's variances, as a multiple of their mean. Two modalities' correlations are
    multiplied by p / (p + `pair_prior`) for p items that have both: few pairs are little evidence.
    """
    from scipy.linalg import eigh

    names = list(white)
    ends = np.cumsum([white[name].shape[1] for name in names])
    spans = {name: slice(end - white[name].shape[1], end) for name, end in zip(names, ends, strict=True)}
    within, across = np.zeros((ends[-1], ends[-1])), np.zeros((ends[-1], ends[-1]))
    for position, one in enumerate(names):
        own = _moment(white[one], white[one], 0)
        across[spans[one], spans[one]] = own
        # The tiny share keeps a modality without training rows solvable.
        ridge = shrinkage * np.trace(own) / len(own) + 1e-6
        within[spans[one], spans[one]] = own + ridge * np.eye(len(own))
        for other in names[position + 1 :]:
            moment = _moment(white[one], white[other], pair_prior)
            across[spans[one], spans[other]], across[spans[other], spans[one]] = moment, moment.T
    width = min(width, max(rows.shape[1] for rows in white.values()))
    _values, vectors = eigh(across, within, subset_by_index=[ends[-1] - width, ends[-1] - 1])
    vectors = vectors[:, ::-1] * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])[::-1]
    return {name: np.ascontiguousarray(vectors[span], dtype=np.float32) for name, span in spans.items()}


def _moment(one: np.ndarray, other: np.ndarray, prior: float) -> np.ndarray:
    """float64 [rank, rank]: mean product over the items that have both, shrunk for being few."""
    both = one.any(axis=1) & other.any(axis=1)
    pairs = int(both.sum())
    product = (one[both].T @ other[both]).astype(np.float64)
    return np.asarray(product / max(1.0, pairs + prior))
