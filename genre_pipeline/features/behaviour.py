"""An item by who took it: an embedding of its id, for items with a history; a new item has none, and is masked.

Belongs here: the embedding. Kept out: whose history it may be learned of (`offline.behaviour`).
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.settings import Settings

BEHAVIOUR = "behaviour"
"""The modality's name among the parts of `fused`."""


class BehaviourConfig(Settings):
    """Whether what users did is a part of an item's fused vector."""

    enabled: bool = False
    """On makes an embedding of the item's id a modality beside text, picture and sound, for items with a history."""
    factors: int = Field(default=64, ge=1)
    """Numbers in the embedding, at most."""
    least_users: int = Field(default=5, ge=1)
    """An item that fewer users took is masked: so few say little."""


def behaviour_vectors(taken: sparse.csr_matrix, config: BehaviourConfig) -> np.ndarray:
    """float32 [items, factors] of float32 [users, items], above 0 where a user took an item; zeros where masked.

    The right singular vectors of the matrix over the roots of its rows' and columns' sums, each by its singular value:
    the spectral embedding of the graph of users and items (Dhillon, KDD 2001). Cosines are what counts.
    """
    from scipy.sparse.linalg import svds

    count = np.asarray((taken > 0).sum(axis=0)).ravel()
    factors = min(config.factors, *(side - 1 for side in taken.shape))
    if factors < 1 or not (count >= config.least_users).any():
        return np.zeros((taken.shape[1], 0), dtype=np.float32)
    balanced = (
        sparse.diags(_inverse_roots(taken, 1)) @ taken.astype(np.float64) @ sparse.diags(_inverse_roots(taken, 0))
    )
    # A start that is given makes the iteration the same every time.
    _, strength, right = svds(balanced, k=factors, v0=np.ones(min(taken.shape)))
    order = np.argsort(-strength, kind="stable")
    vectors = (right[order] * strength[order, None]).T
    return np.where(count[:, None] >= config.least_users, vectors, 0).astype(np.float32)


def _inverse_roots(taken: sparse.csr_matrix, axis: int) -> np.ndarray:
    sums = np.asarray(taken.sum(axis=axis), dtype=np.float64).ravel()
    return np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
