import numpy as np
import pytest

from genre_pipeline.features.similarity import cosine, l2_normalise


def test_the_seed_articles_example_with_the_right_value() -> None:
    assert float(cosine(np.array([0.5, 0.5]), np.array([0.6, 0.4]))) == pytest.approx(0.9806, abs=5e-5)


def test_each_row_with_each_row_and_zero_where_a_row_is_missing() -> None:
    u = np.array([[2.0, 0.0], [0.0, 0.0]])
    v = np.array([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(cosine(u, v), [[1, 0, -1], [0, 0, 0]])


def test_normalising_leaves_the_argument_alone() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(l2_normalise(rows), [[0.6, 0.8], [0, 0]])
    np.testing.assert_array_equal(rows, [[3, 4], [0, 0]])
