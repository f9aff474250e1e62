"""Moments of every form, and the difference between a clock and an order."""

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.preprocessing.timestamps import is_order, utc_timestamps

NOON = datetime(2024, 3, 5, 12, 0, tzinfo=UTC)
NAIVE = datetime(2024, 3, 5, 12, 0)


@pytest.mark.parametrize(
    "raw",
    [
        pl.Series([NAIVE], dtype=pl.Datetime("ns")),
        pl.Series([NAIVE], dtype=pl.Datetime("ms")),
        pl.Series([NAIVE], dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.Series([NAIVE + timedelta(hours=1)], dtype=pl.Datetime("us")).dt.replace_time_zone("Europe/Berlin"),
        pl.Series([1_709_640_000], dtype=pl.Int64),
        pl.Series([1_709_640_000], dtype=pl.UInt32),
        pl.Series([1_709_640_000.0], dtype=pl.Float64),
        pl.Series(["1709640000"]),
        pl.Series(["1709640000.0"]),
        pl.Series([" 1.70964e9 "]),
        pl.Series(["2024-03-05T12:00:00Z"]),
        pl.Series(["2024-03-05 12:00"]),
        pl.Series(["2024-03-05T12:00:00"]),
        pl.Series(["2024-03-05 12:00:00.000 UTC"]),
        pl.Series(["2024-03-05T13:00:00+01:00"]),
        pl.Series(["2024-03-05T07:30:00,000-0430"]),
        pl.Series(["2024-03-05T14:00+02"]),
    ],
)
def test_every_form_of_one_moment(raw: pl.Series) -> None:
    read = utc_timestamps(raw)
    assert read.dtype == pl.Datetime("us", "UTC")
    assert read.to_list() == [NOON]


def test_a_date_is_its_midnight() -> None:
    midnight = datetime(2024, 3, 5, tzinfo=UTC)
    assert utc_timestamps(pl.Series([date(2024, 3, 5)])).to_list() == [midnight]
    assert utc_timestamps(pl.Series(["2024-03-05"])).to_list() == [midnight]


def test_microseconds_survive() -> None:
    expected = NOON + timedelta(microseconds=123456)
    raw = pl.Series(["2024-03-05T12:00:00Z", "2024-03-05T12:00:00.123456Z", "2024-03-05T12:00:00.123456+00:00"])
    assert utc_timestamps(raw).to_list() == [NOON, expected, expected]


@pytest.mark.parametrize(
    "cell",
    ["yesterday", "2024-13-01", "2024-02-30T00:00:00Z", "05/03/2024", "", "99999999999999999999", "nan", "12:00"],
)
def test_what_is_not_a_moment_becomes_null_and_its_neighbours_stay(cell: str) -> None:
    raw = pl.Series(["2024-03-05T12:00:00Z", cell, "1709640000", None])
    assert utc_timestamps(raw).to_list() == [NOON, None, NOON, None]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, None])
def test_numbers_beyond_any_clock_become_null(number: float | None) -> None:
    assert utc_timestamps(pl.Series([number, 0.5], dtype=pl.Float64)).to_list()[0] is None
    assert utc_timestamps(pl.Series([2**62])).to_list() == [None]


@pytest.mark.parametrize("raw", [pl.Series([True]), pl.Series([[1]]), pl.Series([b"1"])])
def test_a_column_that_is_no_time_is_refused(raw: pl.Series) -> None:
    with pytest.raises(ContractError, match="not a time"):
        utc_timestamps(raw.alias("timestamp"))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pl.Series([0, 1, 99_999_999]), True),
        (pl.Series([0, 1, 100_000_000]), False),
        (pl.Series([-1, 5]), False),
        (pl.Series([1.0, 2.0, None]), True),
        (pl.Series([1.5, 2.0]), False),
        (pl.Series(["1", " 2", "third"]), True),
        (pl.Series(["1", "2024-03-05"]), False),
        (pl.Series(["1700000000"]), False),
        (pl.Series([], dtype=pl.Int64), False),
        (pl.Series([NOON]), False),
    ],
)
def test_small_whole_numbers_are_an_order(raw: pl.Series, expected: bool) -> None:
    assert is_order(raw) is expected


def test_an_order_is_kept_as_seconds_after_the_epoch() -> None:
    read = utc_timestamps(pl.Series([3, 1, 2]))
    assert read.dt.epoch("s").to_list() == [3, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20),
    st.sampled_from([0, 60, -570, 345]),
)
def test_iso_text_reads_as_python_reads_it(moments: list[datetime], offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    zoned = [moment.replace(tzinfo=zone) for moment in moments]
    assert utc_timestamps(pl.Series([moment.isoformat() for moment in zoned])).to_list() == zoned
