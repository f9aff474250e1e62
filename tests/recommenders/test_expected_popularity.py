import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.recommenders.expected_popularity import expected_popularity, with_new_items


def _vectors(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


def test_a_new_item_is_expected_to_be_as_popular_as_its_like() -> None:
    vectors = _vectors(500, 4)
    popularity = np.exp(2 * vectors[:, 0]).astype(np.float32)
    popularity[400:] = 0
    expected = expected_popularity(vectors, popularity, ridge=1.0)
    assert np.corrcoef(expected[400:], vectors[400:, 0])[0, 1] > 0.8
    known = np.log1p(popularity[:400] / popularity[:400].mean())
    assert np.corrcoef(expected[:400], known)[0, 1] > 0.8
    assert expected[:400].mean() == pytest.approx(0, abs=1e-5)


def test_closed_form_by_hand() -> None:
    vectors = np.array([[1.0], [-1.0], [0.5]], dtype=np.float32)
    popularity = np.array([3.0, 1.0, 0.0], dtype=np.float32)
    high, low = np.log1p(1.5), np.log1p(0.5)
    slope = (high - low) / (2 + 2.0)  # sum x y / (sum x x + ridge), in units of y
    expected = slope * vectors[:, 0] / ((high - low) / 2)
    np.testing.assert_allclose(expected_popularity(vectors, popularity, ridge=2.0), expected, rtol=1e-6)


@given(st.integers(0, 6), st.integers(0, 10), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_always_finite_and_silent_where_nothing_is_known(known: int, unknown: int, ridge: float) -> None:
    vectors = _vectors(known + unknown, 3)
    vectors[::4] = 0
    popularity = np.r_[np.ones(known), np.zeros(unknown)].astype(np.float32)
    expected = expected_popularity(vectors, popularity, ridge)
    assert np.isfinite(expected).all()
    assert not expected[::4].any()
    assert expected.dtype == np.float32
    if known < 3:
        assert not expected.any()


def test_content_that_tells_nothing_expects_nothing() -> None:
    vectors = np.ones((50, 3), dtype=np.float32)
    popularity = np.arange(50, dtype=np.float32)
    np.testing.assert_allclose(expected_popularity(vectors, popularity, ridge=1.0), 0, atol=1e-5)


def test_a_new_item_takes_the_popularity_of_its_place() -> None:
    popularity = np.array([5, 1, 9, 0, 0, 0], dtype=np.float32)
    expected = np.array([0.2, -0.2, 0.1, 0.15, 0.9, 0], dtype=np.float32)
    had = np.array([True, True, True, False, False, False])
    assert with_new_items(popularity, expected, had).tolist() == [5, 1, 9, 9, 9, 0]
    assert with_new_items(popularity, -expected, had).tolist() == [5, 1, 9, 5, 1, 0]
    assert with_new_items(popularity, np.zeros(6, dtype=np.float32), had).tolist() == popularity.tolist()
