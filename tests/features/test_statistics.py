from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.tables import TIME
from genre_pipeline.features.histories import user_histories
from genre_pipeline.features.statistics import StatisticsConfig, bump_statistics, item_statistics, user_statistics

AS_OF = datetime(2024, 3, 11, tzinfo=UTC)
SCHEMA = {"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String, "value": pl.Float64}


def interactions(*rows: tuple[str, str, float, float | None]) -> pl.DataFrame:
    """Rows (user, item, days before AS_OF, value), sorted by time."""
    full = [(user, item, AS_OF - timedelta(days=age), "view", value) for user, item, age, value in rows]
    return pl.DataFrame(full, schema=SCHEMA, orient="row").sort("timestamp", maintain_order=True)


EVENTS = interactions(
    ("u1", "i1", 60, 4.0), ("u1", "i1", 30, None), ("u1", "i2", 7, None), ("u2", "i1", 0.5, 5.0),
    ("u2", "i1", 0, 1.0), ("u3", "i3", -1, 1.0),
)  # fmt: skip
"""The last two are not before AS_OF: nothing of them is known."""


def test_item_statistics_look_back_from_as_of() -> None:
    expected = pl.DataFrame(
        {
            "item_id": ["i1", "i2"],
            "event_timestamp": pl.Series([AS_OF, AS_OF], dtype=TIME),
            "interactions_total": [3, 1],
            "interactions_7d": [1, 1],
            "interactions_30d": [2, 1],
            "users_total": [2, 1],
            "mean_value": [4.5, None],
            "popularity_decayed": [0.25 + 0.5 + 0.5 ** (0.5 / 30), 0.5 ** (7 / 30)],
            "days_since_first": [60.0, 7.0],
            "days_since_last": [0.5, 7.0],
        }
    )
    found = item_statistics(EVENTS, as_of=AS_OF, config=StatisticsConfig(half_life_days=30))
    assert_frame_equal(found, expected, abs_tol=1e-8)
    assert_frame_equal(item_statistics(EVENTS.lazy(), as_of=AS_OF), found)


def test_user_statistics_look_back_from_as_of() -> None:
    expected = pl.DataFrame(
        {
            "user_id": ["u1", "u2"],
            "event_timestamp": pl.Series([AS_OF, AS_OF], dtype=TIME),
            "interactions_total": [3, 1],
            "interactions_7d": [1, 1],
            "interactions_30d": [2, 1],
            "items_total": [2, 1],
            "mean_value": [4.0, 5.0],
            "days_since_first": [60.0, 0.5],
            "days_since_last": [7.0, 0.5],
        }
    )
    assert_frame_equal(user_statistics(EVENTS, as_of=AS_OF), expected)


def test_an_order_without_a_clock_has_counts_only() -> None:
    ticks = EVENTS.with_columns(pl.datetime_range(pl.lit(AS_OF) - timedelta(seconds=6), AS_OF, "1s", closed="left"))
    ticks = ticks.with_columns(pl.col("literal").alias("timestamp").cast(TIME)).select(EVENTS.columns)
    items = item_statistics(ticks, as_of=AS_OF, has_clock=False)
    assert items["popularity_decayed"].to_list() == [4.0, 1.0, 1.0]
    users = user_statistics(ticks, as_of=AS_OF, has_clock=False)
    clocked = ["interactions_7d", "interactions_30d", "days_since_first", "days_since_last"]
    assert items.select(clocked).null_count().row(0) == (3, 3, 3, 3)
    assert users.select(clocked).null_count().row(0) == (3, 3, 3, 3)
    assert items.schema == item_statistics(EVENTS, as_of=AS_OF).schema
    assert users.schema == user_statistics(EVENTS, as_of=AS_OF).schema


def test_nothing_known_gives_an_empty_table_of_the_same_form() -> None:
    early = AS_OF - timedelta(days=400)
    assert item_statistics(EVENTS, as_of=early).schema == item_statistics(EVENTS, as_of=AS_OF).schema
    assert user_statistics(EVENTS, as_of=early).height == 0


rows = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3"]), st.sampled_from(["i1", "i2", "i3"]),
        st.integers(0, 60 * 48).map(lambda half_hours: half_hours / 48), st.sampled_from([None, 1.0, 2.5]),
    ),
    max_size=30,
)  # fmt: skip


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_statistics_do_not_depend_on_the_order_of_rows(found: list, random) -> None:  # type: ignore[no-untyped-def,type-arg]
    frame = interactions(*found)
    mixed = frame[random.sample(range(frame.height), frame.height)] if found else frame
    assert item_statistics(mixed, as_of=AS_OF).equals(item_statistics(frame, as_of=AS_OF), null_equal=True)
    assert user_statistics(mixed, as_of=AS_OF).equals(user_statistics(frame, as_of=AS_OF), null_equal=True)


@given(rows)
@settings(max_examples=40, deadline=None)
def test_users_and_items_count_the_same_events(found: list) -> None:  # type: ignore[type-arg]
    frame = interactions(*found)
    by_item, by_user = item_statistics(frame, as_of=AS_OF), user_statistics(frame, as_of=AS_OF)
    for column in ("interactions_total", "interactions_7d", "interactions_30d"):
        assert by_item[column].sum() == by_user[column].sum()
    assert by_item["users_total"].sum() == by_user["items_total"].sum()


def test_bumped_statistics_are_those_of_the_night_where_no_window_moved() -> None:
    past = interactions(("u1", "i1", 3, 4.0), ("u1", "i2", 2, 2.0), ("u2", "i1", 1, None))
    new = interactions(
        ("u1", "i2", -0.25, 3.0), ("u1", "i3", -0.5, None), ("u1", "i3", -0.75, None), ("u3", "i1", -0.5, 1.0)
    )
    night, now = user_statistics(past, as_of=AS_OF), AS_OF + timedelta(days=0.75)
    bumped = bump_statistics(night, new, user_histories(past, as_of=AS_OF))
    whole = user_statistics(pl.concat([past, new]), as_of=now + timedelta(microseconds=1))
    expected = pl.DataFrame(
        {
            "user_id": ["u1", "u2", "u3"],
            "event_timestamp": pl.Series([now, AS_OF, AS_OF + timedelta(days=0.5)], dtype=TIME),
            "interactions_total": [5, 1, 1],
            "interactions_7d": [5, 1, 1],
            "interactions_30d": [5, 1, 1],
            "items_total": [3, 1, 1],
            "mean_value": [3.0, None, 1.0],
            "days_since_first": [3.75, 1.0, 0.0],
            "days_since_last": [0.0, 1.0, 0.0],
        }
    )
    assert_frame_equal(bumped, expected)
    counts = ["user_id", "interactions_total", "interactions_7d", "interactions_30d", "items_total", "mean_value"]
    assert_frame_equal(bumped.select(counts), whole.select(counts))


def test_a_late_event_counts_and_leaves_the_time_alone() -> None:
    night = user_statistics(interactions(("u1", "i1", 3, None)), as_of=AS_OF)
    bumped = bump_statistics(night, interactions(("u1", "i2", 10, None)))
    assert bumped["event_timestamp"].to_list() == [AS_OF]
    row = bumped.drop("user_id", "event_timestamp", "mean_value").row(0)
    assert row == (2, 1, 2, 2, 10.0, 3.0)


@pytest.mark.parametrize("empty", ["events", "statistics", "both"])
def test_bumping_from_or_with_nothing(empty: str) -> None:
    night = user_statistics(EVENTS, as_of=AS_OF)
    if empty in ("statistics", "both"):
        night = night.clear()
    events = EVENTS.clear() if empty in ("events", "both") else EVENTS
    bumped = bump_statistics(night, events)
    assert bumped.schema == night.schema
    if empty != "statistics":
        assert_frame_equal(bumped, night)
    else:
        assert bumped["interactions_total"].to_list() == [3, 2, 1]
