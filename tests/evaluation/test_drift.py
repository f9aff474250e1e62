import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.evaluation.drift import statistics_drift, together, vector_drift


def numbers(*values: float | None) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [str(nth) for nth in range(len(values))], "total": values}, strict=False)


def vectors(rows: dict[str, list[float] | None]) -> pl.DataFrame:
    schema = {"item_id": pl.String, "vector": pl.List(pl.Float32)}
    return pl.DataFrame(list(rows.items()), schema=schema, orient="row")


def levels(drift: pl.DataFrame) -> dict[str, tuple[float | None, str]]:
    return {measure: (value, level) for measure, value, level in drift.select("measure", "value", "level").rows()}


def test_the_same_numbers_have_not_drifted() -> None:
    frame = numbers(*range(50), None)
    assert levels(statistics_drift("t", frame, frame)) == {"psi": (0.0, "stable"), "mean_shift": (0.0, "stable")}


def test_another_distribution_is_large_and_texts_are_left_out() -> None:
    before, now = numbers(*range(100)), numbers(*range(80, 180))
    found = statistics_drift("t", before, now)
    assert found["feature"].to_list() == ["total", "total"]
    told = levels(found)
    assert told["psi"][1] == told["mean_shift"][1] == "large"
    assert told["mean_shift"][0] == pytest.approx(80 / np.std(np.arange(100)))


def test_what_counts_days_has_no_index() -> None:
    before, now = (pl.DataFrame({"days_since_first": [day + 0.5] * 50}) for day in (7, 8))
    assert statistics_drift("t", before, now)["measure"].to_list() == ["mean_shift"]


def test_the_index_is_the_one_of_the_books() -> None:
    """Half below and half above becomes a quarter and three: (1/4 - 1/2) ln(1/2) + (3/4 - 1/2) ln(3/2)."""
    before, now = numbers(*[0.0] * 50, *[1.0] * 50), numbers(*[0.0] * 25, *[1.0] * 75)
    expected = -0.25 * np.log(0.5) + 0.25 * np.log(1.5)
    assert levels(statistics_drift("t", before, now))["psi"] == (pytest.approx(expected, rel=1e-3), "large")


def test_missing_values_are_a_bin_of_their_own() -> None:
    before, now = numbers(*range(90), *[None] * 10), numbers(*range(50), *[None] * 50)
    assert levels(statistics_drift("t", before, now))["psi"][1] == "large"


def test_nothing_to_compare_is_unknown_and_a_constant_may_stay() -> None:
    assert levels(statistics_drift("t", numbers(None, None), numbers(1.0)))["psi"] == (None, "unknown")
    assert levels(statistics_drift("t", numbers(2.0, 2.0), numbers(2.0)))["mean_shift"] == (0.0, "stable")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_index_is_never_negative(old: list[float], new: list[float]) -> None:
    value = levels(statistics_drift("t", numbers(*old), numbers(*new)))["psi"][0]
    assert value is not None
    assert value >= 0


def test_vectors_by_the_share_that_changed_and_by_length() -> None:
    before = vectors({"a": [1, 0], "b": [0, 1], "c": [1, 1], "gone": [5, 5], "none": None})
    now = vectors({"c": [1, 1], "b": [1, 0], "a": [2, 0], "new": [9, 9], "none": [1, 1]})
    told = levels(vector_drift("t", before, now, "item_id"))
    # Of a, b and c one points elsewhere; a is twice as long.
    assert told["changed_share"] == (pytest.approx(1 / 3), "watch")
    assert told["norm_shift"] == (pytest.approx(1 / (2 + 2**0.5), rel=1e-5), "large")


def test_vectors_of_another_width_have_all_changed_and_without_any_nothing_is_known() -> None:
    before, now = vectors({"a": [1, 0]}), vectors({"a": [1, 0, 0]})
    assert levels(vector_drift("t", before, now, "item_id"))["changed_share"] == (1.0, "large")
    nothing = vectors({"b": [1, 0]})
    assert set(levels(vector_drift("t", before, nothing, "item_id")).values()) == {(None, "unknown")}
    assert together([]).is_empty()
