from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import TIME
from genre_pipeline.features.histories import HistoryConfig, append_events, user_histories, user_vectors

AS_OF = datetime(2024, 3, 11, tzinfo=UTC)
EPOCH = int(AS_OF.timestamp())
SCHEMA = {"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String, "value": pl.Float64}
HISTORY = {
    "user_id": pl.String, "event_timestamp": TIME, "item_ids": pl.List(pl.String),
    "timestamps": pl.List(pl.Int64), "events": pl.List(pl.String),
}  # fmt: skip


def interactions(*rows: tuple[str, str, int, str]) -> pl.DataFrame:
    """Rows (user, item, seconds from AS_OF, event), sorted by time, equal times as given."""
    full = [(user, item, AS_OF + timedelta(seconds=second), event, None) for user, item, second, event in rows]
    return pl.DataFrame(full, schema=SCHEMA, orient="row").sort("timestamp", maintain_order=True)


def histories(*rows: tuple[str, datetime, list[str], list[int], list[str]]) -> pl.DataFrame:
    shifted = [
        (user, stamp, items, [EPOCH + second for second in seconds], events)
        for user, stamp, items, seconds, events in rows
    ]
    return pl.DataFrame(shifted, schema=HISTORY, orient="row")


def test_the_latest_interactions_oldest_first_equal_times_as_they_came() -> None:
    events = interactions(
        ("u2", "i9", -50, "like"), ("u2", "i2", -50, "like"), ("u2", "i5", -50, "view"),
        ("u1", "i1", -9, "view"), ("u1", "i2", -8, "view"), ("u1", "i1", -7, "like"), ("u1", "i3", -1, "view"),
        ("u1", "i4", 0, "view"), ("u3", "i4", 5, "view"),
    )  # fmt: skip
    expected = histories(
        ("u1", AS_OF, ["i2", "i1", "i3"], [-8, -7, -1], ["view", "like", "view"]),
        ("u2", AS_OF, ["i9", "i2", "i5"], [-50, -50, -50], ["like", "like", "view"]),
    )
    found = user_histories(events, as_of=AS_OF, config=HistoryConfig(length=3))
    assert_frame_equal(found, expected)
    assert_frame_equal(user_histories(events.lazy(), as_of=AS_OF, config=HistoryConfig(length=3)), expected)


def test_an_exact_repeat_counts_once_where_it_came_first() -> None:
    events = interactions(("u1", "i1", -5, "view"), ("u1", "i1", -5, "like"), ("u1", "i1", -5, "view"))
    expected = histories(("u1", AS_OF, ["i1", "i1"], [-5, -5], ["view", "like"]))
    assert_frame_equal(user_histories(events, as_of=AS_OF), expected)


def test_late_events_go_where_their_time_says_and_never_age_the_row() -> None:
    old = histories(
        ("u1", AS_OF, ["i1", "i2"], [-20, -10], ["view", "view"]),
        ("u2", AS_OF, ["i1"], [-20], ["view"]),
        ("u4", AS_OF, [], [], []),
    )
    new = interactions(
        ("u1", "i3", -15, "like"), ("u1", "i4", -30, "view"), ("u2", "i5", 60, "like"), ("u3", "i1", 7, "view")
    )
    expected = histories(
        ("u1", AS_OF, ["i1", "i3", "i2"], [-20, -15, -10], ["view", "like", "view"]),
        ("u2", AS_OF + timedelta(seconds=60), ["i1", "i5"], [-20, 60], ["view", "like"]),
        ("u3", AS_OF + timedelta(seconds=7), ["i1"], [7], ["view"]),
        ("u4", AS_OF, [], [], []),
    )
    config = HistoryConfig(length=3)
    found = append_events(old, new, config)
    assert_frame_equal(found, expected)
    assert_frame_equal(append_events(found, new, config), expected)


def test_an_event_in_the_oldest_second_of_a_full_history_is_one_it_let_go() -> None:
    old = histories(("u1", AS_OF, ["i1", "i2"], [-20, -10], ["view", "view"]))
    new = interactions(("u1", "i3", -20, "like"))
    assert_frame_equal(append_events(old, new, HistoryConfig(length=2)), old)
    expected = histories(("u1", AS_OF, ["i1", "i3", "i2"], [-20, -20, -10], ["view", "like", "view"]))
    assert_frame_equal(append_events(old, new, HistoryConfig(length=3)), expected)


def test_appending_to_or_with_nothing() -> None:
    old = histories(("u1", AS_OF, ["i1"], [-20], ["view"]))
    assert_frame_equal(append_events(old, interactions()), old)
    new = interactions(("u1", "i3", -15, "like"))
    stamp = AS_OF - timedelta(seconds=15)
    assert_frame_equal(append_events(old.clear(), new), histories(("u1", stamp, ["i3"], [-15], ["like"])))
    assert append_events(old.clear(), interactions()).schema == old.schema


event_rows = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2"]), st.sampled_from(["i1", "i2", "i3"]), st.integers(-30, -1),
        st.sampled_from(["view", "like"]),
    ),
    max_size=25,
)  # fmt: skip


@given(event_rows, st.integers(-31, 0), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_a_history_extended_by_events_is_the_next_nights(found: list, cut: int, length: int) -> None:  # type: ignore[type-arg]
    config, middle = HistoryConfig(length=length), AS_OF + timedelta(seconds=cut)
    events = interactions(*found)
    before = user_histories(events, as_of=middle, config=config)
    online = append_events(before, events.filter(pl.col("timestamp") >= middle), config)
    nightly = user_histories(events, as_of=AS_OF, config=config)
    assert_frame_equal(online.drop("event_timestamp"), nightly.drop("event_timestamp"))


@given(event_rows, event_rows, st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_appending_twice_changes_nothing(found: list, new: list, length: int) -> None:  # type: ignore[type-arg]
    config = HistoryConfig(length=length)
    once = append_events(user_histories(interactions(*found), as_of=AS_OF, config=config), interactions(*new), config)
    assert_frame_equal(append_events(once, interactions(*new), config), once)


VECTORS = pl.DataFrame(
    {
        "item_id": ["i1", "i2", "i3"],
        "model": ["m", "m", "m"],
        "content_hash": ["a", "b", "c"],
        "vector": pl.Series([[1, 0], [0, 1], None], dtype=pl.List(pl.Float32)),
    }
)
DAY = 86_400


def unit(*numbers: float) -> list[float]:
    return list(np.array(numbers) / np.linalg.norm(numbers))


def test_a_users_vector_is_the_recency_weighted_mean_of_length_one() -> None:
    rows = histories(
        ("u1", AS_OF, ["i1", "i3", "i2"], [-12 * DAY, -3 * DAY, -2 * DAY], ["view"] * 3),
        ("u2", AS_OF, ["i1", "i2", "i1"], [-12 * DAY, -2 * DAY, -2 * DAY], ["view"] * 3),
        ("u3", AS_OF, ["i3", "i9"], [-12 * DAY, -2 * DAY], ["view"] * 2),
        ("u4", AS_OF, [], [], []),
    )
    config = HistoryConfig(half_life_days=10, half_life_positions=1)
    by_day = user_vectors(rows, VECTORS, model="m", config=config)
    expected = rows.select(
        "user_id", "event_timestamp", pl.lit("m").alias("model"),
        pl.Series("vector", [unit(0.5, 1), unit(1.5, 1), None, None], dtype=pl.List(pl.Float32)),
    )  # fmt: skip
    assert_frame_equal(by_day, expected)
    by_place = user_vectors(rows, VECTORS, model="m", config=config, has_clock=False)
    assert_series_equal(
        by_place.head(2)["vector"],
        pl.Series("vector", [unit(0.25, 1), unit(1.25, 0.5)], dtype=pl.List(pl.Float32)),
    )


def test_a_long_idle_user_still_has_a_vector() -> None:
    rows = histories(("u1", AS_OF, ["i1"], [-40_000 * DAY // 4], ["view"]))
    found = user_vectors(rows, VECTORS, model="m", config=HistoryConfig(half_life_days=1))
    assert found["vector"].to_list() == [[1, 0]]


def test_vectors_of_another_model_are_refused() -> None:
    rows = histories(("u1", AS_OF, ["i1"], [-5], ["view"]))
    with pytest.raises(ContractError, match="No item vector is of the model 'other'"):
        user_vectors(rows, VECTORS, model="other")


def test_without_item_vectors_no_user_has_one() -> None:
    rows = histories(("u1", AS_OF, ["i1"], [-5], ["view"]))
    assert user_vectors(rows, VECTORS.clear(), model="m")["vector"].to_list() == [None]
    nulls = VECTORS.with_columns(pl.lit(None, pl.List(pl.Float32)).alias("vector"))
    assert user_vectors(rows, nulls, model="m")["vector"].to_list() == [None]
