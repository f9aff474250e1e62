"""Numbers on one scale, with the training rows' statistics alone."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.preprocessing.numbers import NumberScales, fit_scales, standardise

CELLS = st.one_of(st.none(), st.floats(-1e30, 1e30), st.sampled_from([math.nan, math.inf, -math.inf]))


@given(st.lists(st.tuples(CELLS, st.integers(-100, 100)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_training_rows_have_mean_0_and_deviation_1(rows: list[tuple[float | None, int]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.Int32}, orient="row")
    scales = fit_scales(frame, ["a", "b"])
    values, present = standardise(frame, scales)
    assert (values.shape, values.dtype, present.dtype) == ((len(rows), 2), np.float32, np.bool_)
    assert np.isfinite(values).all()
    assert not values[~present].any()
    assert present[:, 0].tolist() == [cell is not None and math.isfinite(cell) for cell, _ in rows]
    for at in range(2):
        known = values[present[:, at], at]
        raw = frame.to_series(at).cast(pl.Float64)
        spread = raw.filter(raw.is_finite()).std(ddof=0) or 0.0
        # Below this a column counts as one that never varies, whose deviation is rounding.
        if spread > 1e-12 * max(1.0, abs(scales.means[at])):
            assert known.mean() == pytest.approx(0, abs=1e-4)
            assert known.std() == pytest.approx(1, abs=1e-4)


def test_statistics_are_the_training_rows_own() -> None:
    training = pl.DataFrame({"price": [1.0, 3.0, None, math.nan], "stock": [5, 5, 5, 5]})
    scales = fit_scales(training, ["price", "stock"])
    assert scales == NumberScales(("price", "stock"), (2.0, 5.0), (1.0, 1.0))
    later = pl.DataFrame({"stock": [5, 7], "price": [100.0, None], "title": ["a", "b"]})
    values, present = standardise(later, scales)
    assert values.tolist() == [[98.0, 0.0], [0.0, 2.0]]
    assert present.tolist() == [[True, True], [False, True]]


def test_a_column_that_hardly_rounds_is_no_signal() -> None:
    frame = pl.DataFrame({"a": [0.1 + 0.2, 0.3, 0.1 + 0.2]})
    assert fit_scales(frame, ["a"]).deviations == (1.0,)


def test_truth_values_and_empty_columns() -> None:
    frame = pl.DataFrame({"new": [True, False], "none": [None, None]}, schema={"new": pl.Boolean, "none": pl.Int8})
    values, present = standardise(frame, fit_scales(frame, ["new", "none"]))
    assert values.tolist() == [[1.0, 0.0], [-1.0, 0.0]]
    assert present.tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("column", ["title", "absent"])
def test_what_is_no_number_is_named(column: str) -> None:
    with pytest.raises(ContractError, match=column):
        fit_scales(pl.DataFrame({"title": ["a"]}), [column])
