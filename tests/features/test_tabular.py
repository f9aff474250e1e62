import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.features.similarity import cosine
from genre_pipeline.features.tabular import TabularConfig, number_vectors, tabular_model

CONFIG = TabularConfig()


def _column(*numbers: float) -> np.ndarray:
    return number_vectors(np.array([numbers], dtype=np.float32).T, np.ones((len(numbers), 1), dtype=bool), CONFIG)


def test_the_nearer_two_numbers_the_larger_their_cosine() -> None:
    similarity = cosine(_column(0.0), _column(0.0, 0.2, 0.5, 1.0, 1.5))[0]
    assert similarity[0] == pytest.approx(1)
    assert (np.diff(similarity) < 0).all()


def test_the_cosine_depends_on_the_difference_alone() -> None:
    np.testing.assert_allclose(cosine(_column(-1.5), _column(-1.0)), cosine(_column(2.0), _column(2.5)), atol=1e-6)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.booleans(), st.booleans()), max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_known_number_has_one_length_and_a_missing_one_none(rows: list[tuple[float, float, bool, bool]]) -> None:
    scaled = np.array([row[:2] for row in rows], dtype=np.float32).reshape(-1, 2)
    present = np.array([row[2:] for row in rows], dtype=bool).reshape(-1, 2)
    vectors = number_vectors(scaled, present, CONFIG)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(rows), 2 * 2 * len(CONFIG.frequencies)))
    lengths = (vectors.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths, present.sum(axis=1) * len(CONFIG.frequencies), rtol=1e-5)


def test_far_out_all_are_alike() -> None:
    np.testing.assert_array_equal(_column(5.0), _column(5e6))


def test_the_identity_knows_columns_and_waves() -> None:
    names = {
        tabular_model(("price",), CONFIG),
        tabular_model(("year",), CONFIG),
        tabular_model(("price",), TabularConfig(frequencies=(1.0,))),
    }
    assert len(names) == 3


def test_a_number_needs_a_wave() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        TabularConfig(frequencies=())
