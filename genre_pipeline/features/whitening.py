"""Whitening: one modality's vectors rotated to principal directions of like variance, so that modalities compare.

PCA whitening (Kessy, Lewin and Strimmer 2018, arXiv 1512.00809) of rows of length 1, with shrinkage: the variance of
each direction is added `shrinkage` times the mean variance of the directions that are kept, before it is divided out.
At 0 every direction weighs the same, noise too; the larger it is, the more the vectors stay as they were, centred.
"""

from dataclasses import dataclass

import numpy as np

from genre_pipeline.features.similarity import l2_normalise

_NO_VARIANCE = 1e-10


@dataclass(frozen=True)
class Whitening:
    """What was learned of one modality."""

    mean: np.ndarray
    """float32 [width]."""
    projection: np.ndarray
    """float32 [width, rank]."""

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [n, width] to [n, rank], rows of length 1; a row of zeros (the modality is missing) stays one."""
        present = vectors.any(axis=1)
        white = np.zeros((len(vectors), self.projection.shape[1]), dtype=np.float32)
        white[present] = l2_normalise((l2_normalise(vectors[present]) - self.mean) @ self.projection)
        return white


def fit_whitening(vectors: np.ndarray, rank: int, shrinkage: float) -> Whitening:
    """Learn from float32 [n, width], rows of zeros left out. The rank is `rank` or less, as far as there is variance.

    Vectors that do not vary, or fewer than two, are passed on as they are.
    """
    rows = l2_normalise(vectors[vectors.any(axis=1)])
    width = rows.shape[1]
    mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(width)
    covariance = _second_moment(rows) - np.outer(mean, mean)
    variances, directions = np.linalg.eigh(covariance)
    kept = np.flatnonzero(variances > _NO_VARIANCE)[::-1][:rank]
    if not len(kept):
        return Whitening(np.zeros(width, dtype=np.float32), np.eye(width, dtype=np.float32))
    scale = np.sqrt(variances[kept] + shrinkage * variances[kept].mean())
    projection = _signed(directions[:, kept]) / scale
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def _second_moment(rows: np.ndarray, block: int = 8192) -> np.ndarray:
    """float64 [width, width], in blocks: no second copy of the whole matrix is made."""
    moment = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), block):
        part = rows[start : start + block].astype(np.float64)
        moment += part.T @ part
    return moment / max(1, len(rows))


def _signed(directions: np.ndarray) -> np.ndarray:
    """Each column turned so that its largest entry is positive: eigenvectors have no sign of their own."""
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(directions.shape[1])])
    return np.asarray(directions * signs)
