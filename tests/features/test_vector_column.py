import numpy as np
import polars as pl
import pytest

from genre_pipeline.features.vector_column import to_column, to_matrix


def test_an_all_zero_row_is_null_and_comes_back_as_zeros() -> None:
    matrix = np.array([[1, 2], [0, 0], [0, -1]], dtype=np.float32)
    column = to_column(matrix)
    assert column.dtype == pl.List(pl.Float32)
    assert column.to_list() == [[1, 2], None, [0, -1]]
    np.testing.assert_array_equal(to_matrix(column), matrix)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_nothing_but_nothing(shape: tuple[int, int]) -> None:
    column = to_column(np.zeros(shape, dtype=np.float32))
    assert column.to_list() == [None] * shape[0]
    assert column.dtype == pl.List(pl.Float32)
    assert to_matrix(column).shape == (shape[0], 0)
