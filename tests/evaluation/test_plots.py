import pytest
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.evaluation.plots import bars, scale_over, whisker

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 6)), min_size=1, max_size=8)


@given(numbers)
def test_a_scale_holds_its_values_and_ends_on_ticks(values):
    scale = scale_over(values)
    assert all(0 <= scale.at(value) <= 100 for value in [*values, 0.0])
    assert 2 <= len(scale.ticks) <= 8
    assert (scale.ticks[0].at, scale.ticks[-1].at) == (scale.at(scale.low), scale.at(scale.high))


def test_ticks_are_round_numbers():
    assert [tick.label for tick in scale_over([0.03, 0.17]).ticks] == ["0.00", "0.05", "0.10", "0.15", "0.20"]
    assert [tick.label for tick in scale_over([-0.1, None, 0.19]).ticks] == ["-0.1", "0.0", "0.1", "0.2"]


def test_a_scale_of_nothing_still_draws():
    assert scale_over([None]).at(0.0) == pytest.approx(6.0)
    assert scale_over([0.0, 0.0]).at(0.0) == pytest.approx(6.0)


def test_whisker_without_value_or_interval():
    scale = scale_over([0.0, 1.0])
    assert whisker(scale, None, None, None) is None
    dot = whisker(scale, 1.0, None, None)
    assert dot is not None
    assert (dot.at, dot.low, dot.high) == (94.0, None, None)


def test_bars_are_shares_of_the_longest():
    assert bars([1.0, None, 4.0]) == [25.0, 0.0, 100.0]
    assert bars([0.0]) == [0.0]
