"""Interactions: one test a rule, and the properties that must hold for any rows."""

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import Interactions, RejectedRows
from genre_pipeline.preprocessing.cleaning import Cleaned, PreprocessingConfig, RowCounts
from genre_pipeline.preprocessing.interactions import clean_interactions, interactions_of_day, with_events
from tests.scenario import BAD_INTERACTIONS, DAYS, EQUAL_TIMES_ITEMS, EQUAL_TIMES_USER, raw_interactions

CONFIG = PreprocessingConfig()
GOOD = {"user_id": "u", "item_id": "i", "timestamp": "2024-03-05T12:00:00Z", "event": "view", "value": "1"}
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def cleaned(*changes: dict[str, object], as_of: datetime | None = None) -> Cleaned:
    rows = [GOOD | change for change in changes]
    return clean_interactions(pl.DataFrame(rows, schema=dict.fromkeys(GOOD, pl.String)), CONFIG, as_of=as_of)


@pytest.mark.parametrize(
    ("change", "rule", "day"),
    [
        ({"user_id": None}, "user_id|nullability", date(2024, 3, 5)),
        ({"user_id": ""}, "user_id|min_length", date(2024, 3, 5)),
        ({"user_id": "x" * 513}, "user_id_is_short", date(2024, 3, 5)),
        ({"item_id": None}, "item_id|nullability", date(2024, 3, 5)),
        ({"item_id": ""}, "item_id|min_length", date(2024, 3, 5)),
        ({"item_id": "é" * 257}, "item_id_is_short", date(2024, 3, 5)),
        ({"timestamp": None}, "timestamp|nullability", date(2024, 3, 5)),
        ({"timestamp": " "}, "timestamp|nullability", date(2024, 3, 5)),
        ({"timestamp": "yesterday"}, "timestamp_is_parsable", date(2024, 3, 5)),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "timestamp_in_range", date(2024, 3, 5)),
        ({"timestamp": "1709640000000"}, "timestamp_in_range", date(2024, 3, 5)),
        ({"value": "many"}, "value_is_a_number", date(2024, 3, 5)),
        ({"value": "NaN"}, "value|nan", date(2024, 3, 5)),
        ({"value": "inf"}, "value|inf", date(2024, 3, 5)),
        ({"timestamp": "2024-03-05T12:00:01Z"}, "timestamp_in_future", date(2024, 3, 5)),
        ({"timestamp": "yesterday", "user_id": "", "value": "many"}, "timestamp_is_parsable", date(2024, 3, 5)),
    ],
)
def test_a_row_that_breaks_a_rule_is_set_aside_with_the_rule(change: dict[str, object], rule: str, day: date) -> None:
    result = cleaned({}, change, as_of=NOON + timedelta(seconds=1))
    assert result.counts == RowCounts(read=2, kept=1, rejected=1, duplicates=0)
    rejected = result.rejected.row(0, named=True)
    assert (rejected["table"], rejected["rule"], rejected["day"]) == ("interactions", rule, day)
    assert json.loads(rejected["raw"]) == GOOD | change


def test_a_good_row_becomes_the_contract() -> None:
    result = cleaned({"event": None, "value": ""})
    expected = pl.DataFrame(
        {"user_id": ["u"], "item_id": ["i"], "timestamp": [NOON], "event": ["interaction"], "value": [None]},
        schema_overrides={"value": pl.Float64},
    )
    assert_frame_equal(result.kept, expected)
    Interactions.validate(result.kept)


def test_event_and_value_may_be_missing_and_other_columns_stay_behind() -> None:
    raw = pl.DataFrame({"session": [1], "timestamp": [1_709_640_000], "item_id": [5], "user_id": [7]})
    kept = clean_interactions(raw, PreprocessingConfig(default_event="purchase")).kept
    assert kept.row(0) == ("7", "5", NOON, "purchase", None)


def test_an_event_at_as_of_is_in_the_future_and_one_before_is_known() -> None:
    result = cleaned({}, {"timestamp": "2024-03-05T11:59:59.999999Z"}, as_of=NOON)
    assert result.rejected["rule"].to_list() == ["timestamp_in_future"]


def test_exact_duplicates_are_dropped_and_counted() -> None:
    result = cleaned({}, {}, {"timestamp": "2024-03-05 13:00:00+01:00"}, {"event": "like"})
    assert result.counts == RowCounts(read=4, kept=2, rejected=0, duplicates=2)


def test_every_bad_row_stays_as_evidence() -> None:
    assert cleaned({"user_id": ""}, {"user_id": ""}).counts == RowCounts(read=2, kept=0, rejected=2, duplicates=0)


def test_equal_timestamps_keep_the_order_of_the_source() -> None:
    kept = clean_interactions(raw_interactions(), CONFIG).kept
    assert kept.filter(pl.col("user_id") == EQUAL_TIMES_USER)["item_id"].to_list() == list(EQUAL_TIMES_ITEMS)
    assert kept["timestamp"].is_sorted()


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_a_missing_column_is_named(column: str) -> None:
    raw = pl.DataFrame([GOOD]).drop(column)
    with pytest.raises(ContractError, match=f"lacks the required column '{column}'"):
        clean_interactions(raw, CONFIG)
    with pytest.raises(ContractError, match=f"lacks the required column '{column}'"):
        interactions_of_day(raw.lazy(), date(2024, 3, 5), CONFIG)


def test_bytes_in_a_rejected_row_are_written_as_base64() -> None:
    raw = pl.DataFrame([GOOD | {"user_id": ""}]).with_columns(blob=pl.lit(b"\xff\x00"))
    assert json.loads(clean_interactions(raw, CONFIG).rejected["raw"].item())["blob"] == "/wA="


def test_the_scenario_breaks_the_rules_it_says() -> None:
    rejected = clean_interactions(raw_interactions(), CONFIG).rejected
    assert rejected["rule"].to_list() == list(BAD_INTERACTIONS)
    RejectedRows.validate(rejected)


def test_the_days_together_are_the_whole() -> None:
    whole = clean_interactions(raw_interactions(), CONFIG)
    days = [interactions_of_day(raw_interactions().lazy(), day, CONFIG) for day in DAYS]
    assert_frame_equal(pl.concat([day.kept for day in days]), whole.kept)
    assert_frame_equal(pl.concat([day.rejected for day in days]), whole.rejected.sort("day", maintain_order=True))
    assert sum(day.counts.read for day in days) == whole.counts.read


def test_a_quiet_day_is_empty_and_not_an_error() -> None:
    day = interactions_of_day(raw_interactions().lazy(), date(2024, 1, 1), CONFIG)
    assert day.counts == RowCounts(0, 0, 0, 0)
    Interactions.validate(day.kept)


CELLS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a", "b", "", None]),
        "item_id": st.sampled_from(["x", "y"]),
        "timestamp": st.sampled_from(
            ["2024-03-01", "2024-03-02T00:00:00Z", "1709251200", "soon", None, "3000-01-01", "2024-03-01 23:59:59"]
        ),
        "event": st.sampled_from(["view", " ", None]),
        "value": st.sampled_from(["1", "1.0", "x", "nan", None]),
    }
)
ROWS = st.lists(CELLS, max_size=30)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_books_add_up_and_cleaning_twice_changes_nothing(rows: list[dict[str, str | None]]) -> None:
    raw = pl.DataFrame(rows, schema=dict.fromkeys(GOOD, pl.String))
    once = clean_interactions(raw, CONFIG)
    assert once.counts.read == len(rows) == once.kept.height + once.rejected.height + once.counts.duplicates
    twice = clean_interactions(once.kept, CONFIG)
    assert_frame_equal(twice.kept, once.kept)
    assert twice.counts == RowCounts(once.kept.height, once.kept.height, 0, 0)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_each_row_belongs_to_one_day(rows: list[dict[str, str | None]]) -> None:
    raw = pl.DataFrame(rows, schema=dict.fromkeys(GOOD, pl.String))
    days = [interactions_of_day(raw.lazy(), date(2024, 3, day), CONFIG) for day in (1, 2)]
    dated = any(row["timestamp"] not in ("soon", None, "3000-01-01") for row in rows)
    assert sum(day.counts.read for day in days) == (len(rows) if dated else 0)


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3)), max_size=12),
    posted=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3)), max_size=12),
)
def test_events_of_the_log_join_the_day_each_once(
    rows: list[tuple[str, str, int]], posted: list[tuple[str, str, int]]
) -> None:
    def events(of: list[tuple[str, str, int]]) -> pl.DataFrame:
        frame = pl.DataFrame(of, schema={"user_id": pl.String, "item_id": pl.String, "hour": pl.Int64}, orient="row")
        time = pl.datetime(2024, 3, 4, pl.col("hour"), time_zone="UTC", time_unit="us").alias("timestamp")
        return frame.select("user_id", "item_id", time, event=pl.lit("view"), value=pl.lit(None, pl.Float64))

    source = clean_interactions(events(rows), PreprocessingConfig())
    folded = with_events(source, events(posted))
    assert set(folded.kept.rows()) == set(events([*rows, *posted]).rows())
    assert folded.kept.is_unique().all()
    assert folded.kept["timestamp"].is_sorted()
    counts = folded.counts
    assert counts.read == len(rows) + len(posted) == counts.kept + counts.rejected + counts.duplicates
    again = with_events(folded, events(posted))
    assert again.kept.equals(folded.kept)
