"""A matrix as a column of vectors, and back. An all-zero row says nothing, and is null in a column."""

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import VECTOR


def to_column(matrix: np.ndarray) -> pl.Series:
    """float32 [n, width] to a List(Float32) column named `vector`, null where a row is all zero."""
    if matrix.shape[1] == 0:
        return pl.Series(VECTOR, [None] * len(matrix), dtype=pl.List(pl.Float32))
    rows = np.ascontiguousarray(matrix, dtype=np.float32)
    lists = pl.DataFrame({VECTOR: pl.Series(rows).arr.to_list()})
    return lists.select(pl.when(pl.Series(rows.any(axis=1))).then(VECTOR).alias(VECTOR))[VECTOR]


def to_matrix(column: pl.Series) -> np.ndarray:
    """A List(Float32) column to float32 [n, width], all zero where it is null; width 0 where everything is null."""
    width = int(column.list.len().max() or 0)  # type: ignore[arg-type]
    matrix = np.zeros((len(column), width), dtype=np.float32)
    filled = column.is_not_null()
    if width:
        matrix[filled.to_numpy()] = column.filter(filled).list.to_array(width).to_numpy()
    return matrix
