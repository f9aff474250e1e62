"""Cosine similarity, r(u, v) of the seed article, and the normalisation that turns it into a dot product."""

import numpy as np


def l2_normalise(matrix: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32 [n, width]; an all-zero row (a missing modality) stays zero."""
    rows = matrix.astype(np.float32, copy=False)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit = np.zeros_like(rows)
    np.divide(rows, norms, out=unit, where=norms > 0)
    return unit


def cosine(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cosine of each row of `u` [n, width] with each row of `v` [m, width]: float32 [n, m], 0 where a row is all zero.

    Two single vectors [width] give one number.
    """
    return np.asarray(l2_normalise(np.asarray(u)) @ l2_normalise(np.asarray(v)).T)
