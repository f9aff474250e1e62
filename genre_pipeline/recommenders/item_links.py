"""Item-to-item matrices, kept sparse: what neighbourhoods and walks have in common."""

import numpy as np
from scipy import sparse


def keep_best(rows: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The `n` largest positive entries of each row; equal entries go to the smaller column."""
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, -rows.data, row_of))
    place = np.arange(len(order)) - rows.indptr[row_of[order]]
    kept = order[(place < n) & (rows.data[order] > 0)]
    return sparse.csr_matrix((rows.data[kept], (row_of[kept], rows.indices[kept])), shape=rows.shape)
