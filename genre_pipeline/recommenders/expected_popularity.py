"""How popular an item like this one gets: a regression of what is taken now on item vectors.

It speaks of items that nobody has had yet as of any other, from their content alone; with what is new in demand, it
knows that too, where a date or a year is part of the content.
"""

import numpy as np
from threadpoolctl import threadpool_limits

_BLOCK = 8192


def expected_popularity(vectors: np.ndarray, popularity: np.ndarray, ridge: float) -> np.ndarray:
    """float32 [items]: expected log popularity, 0 on average, in deviations of the log popularity of known items.

    `vectors` are float32 [items, width], zeros where an item has none; `popularity` is float32 [items], 0 where nobody
    took the item: such an item, and one without a vector, is not learned from. Ridge regression with intercept (Hoerl
    and Kennard 1970) on log(1 + popularity / its mean); what content cannot tell stays out, and where it tells nothing,
    or there are fewer than two items to learn from, everything is 0.
    """
    present = np.asarray(vectors.any(axis=1))
    known = np.flatnonzero(present & (popularity > 0))
    if len(known) < 2:
        return np.zeros(len(vectors), dtype=np.float32)
    target = np.log1p(popularity[known] / popularity[known].mean(dtype=np.float64))
    centre = vectors[known].mean(axis=0, dtype=np.float64)
    deviation = max(float(target.std()), 1e-9)
    # Sums over several threads add up in the order in which they finish.
    with threadpool_limits(limits=1, user_api="blas"):
        moment, product = _moments(vectors, known, centre, target - target.mean())
        slope = np.linalg.solve(moment + ridge * np.eye(len(moment)), product) / deviation
    expected = vectors @ slope.astype(np.float32) - np.float32(centre @ slope)
    return np.where(present, expected, np.float32(0)).astype(np.float32)


def with_new_items(popularity: np.ndarray, expected: np.ndarray, had: np.ndarray) -> np.ndarray:
    """float32 [items]: `popularity`, in which an item that nobody has had is as popular as the known item at its place.

    `expected` is what `expected_popularity` says, 0 where content says nothing; `had`, bool [items], is where somebody
    had the item. Places, not sizes: a regression's expectations lie closer together than what they expect, and by size
    no new item would ever stand among the popular. No known item's popularity changes, and no new one's exceeds them.
    """
    known, new = np.flatnonzero(had & (expected != 0)), np.flatnonzero(~had & (expected != 0))
    if not len(known):
        return popularity
    place = np.minimum(np.searchsorted(np.sort(expected[known]), expected[new]), len(known) - 1)
    result = popularity.copy()
    result[new] = np.sort(popularity[known])[place]
    return result


def _moments(
    vectors: np.ndarray, known: np.ndarray, centre: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """XᵀX, float64 [width, width], and Xᵀy of the centred rows, in blocks."""
    width = vectors.shape[1]
    moment, product = np.zeros((width, width)), np.zeros(width)
    for start in range(0, len(known), _BLOCK):
        rows = vectors[known[start : start + _BLOCK]] - centre
        moment += rows.T @ rows
        product += rows.T @ target[start : start + _BLOCK]
    return moment, product
