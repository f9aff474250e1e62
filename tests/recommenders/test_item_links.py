import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from genre_pipeline.recommenders.item_links import keep_best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_kept_neighbours_are_the_first_of_a_stable_sort(seed: int, n: int) -> None:
    dense = np.random.default_rng(seed).integers(0, 4, (5, 7)).astype(np.float32)
    kept = keep_best(sparse.csr_matrix(dense), n).toarray()
    expected = np.zeros_like(dense)
    for row, order in enumerate(np.argsort(-dense, axis=1, kind="stable")[:, :n]):
        expected[row, order] = dense[row, order]
    np.testing.assert_array_equal(kept, expected)
