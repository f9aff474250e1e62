from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIME = pl.Datetime("us", "UTC")
IDS = st.sampled_from(["", "0", "00", "7", "007", "a", "A", "é", "e\u0301", "z z", "東京"])
EVENTS = st.tuples(IDS, IDS, st.integers(-3, 3))


def _interactions(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """(user, item, hours after `AS_OF`) and perhaps the event."""
    return pl.DataFrame(
        [(row[0], row[1], AS_OF + row[2] * HOUR, row[3] if len(row) > 3 else "view") for row in rows],
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String},
        orient="row",
    )


def _items(*ids: str, **columns: Any) -> pl.DataFrame:
    blank = {
        "available": [True] * len(ids),
        "published_at": pl.Series([None] * len(ids), dtype=TIME),
        "categories": pl.Series([[]] * len(ids), dtype=pl.List(pl.String)),
    }
    return pl.DataFrame({"item_id": pl.Series(ids, dtype=pl.String), **blank, **columns})


def _candidates(data: TrainingSet) -> list[str]:
    return data.item_ids.filter(pl.Series(data.is_candidate)).to_list()


@settings(max_examples=80, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=25).filter(lambda rows: any(row[2] < 0 for row in rows)), st.sets(IDS))
def test_ids_and_positions_are_two_names_of_one_thing(rows: list[tuple[str, str, int]], listed: set[str]) -> None:
    data = build_training_set(_interactions(rows), _items(*listed), as_of=AS_OF)
    past = [row for row in rows if row[2] < 0]
    assert data.user_ids.to_list() == sorted({row[0] for row in past}, key=str.encode)
    assert data.item_ids.to_list() == sorted({row[1] for row in past} | listed, key=str.encode)
    np.testing.assert_array_equal(data.user_positions(data.user_ids), np.arange(data.n_users))
    np.testing.assert_array_equal(data.item_positions(data.item_ids), np.arange(data.n_items))
    back = [
        (data.user_ids[user], data.item_ids[item], when)
        for user, item, when in data.events.select("user_index", "item_index", "timestamp").iter_rows()
    ]
    assert sorted(back) == sorted((row[0], row[1], AS_OF + row[2] * HOUR) for row in past)
    assert (data.events["timestamp"] < AS_OF).all()
    dense = data.matrix.toarray()
    assert dense.sum() == len({row[:2] for row in past})
    np.testing.assert_array_equal(data.history_lengths, (dense > 0).sum(axis=1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IDS, IDS, st.integers(-3, 3), st.sampled_from([None, -1, 0, 1])), min_size=1, max_size=15))
def test_only_known_items_never_admits_what_did_not_exist(rows: list[tuple[str, str, int, int | None]]) -> None:
    published = {item: when for _, item, _, when in rows}
    moments = [None if when is None else AS_OF + when * HOUR for when in published.values()]
    items = _items(*published, published_at=pl.Series(moments, dtype=TIME))
    events = [*rows, ("somebody", "seen", -1, None)]
    data = build_training_set(_interactions([row[:3] for row in events]), items, as_of=AS_OF, only_known_items=True)
    seen = {item for _, item, hour, _ in events if hour < 0}
    existed = seen | {item for item, when in published.items() if when is not None and when < 0}
    assert set(_candidates(data)) == existed


def test_positions_of_strangers_are_minus_one() -> None:
    data = build_training_set(_interactions([("u", "i", -1)]), _items("j"), as_of=AS_OF)
    assert data.user_positions(pl.Series(["x", "u", "x"])).tolist() == [-1, 0, -1]
    assert data.item_positions(pl.Series(["j", "x", "i"])).tolist() == [1, -1, 0]


def test_events_are_sorted_by_user_then_time_and_equal_times_keep_the_sources_order() -> None:
    rows = [("b", "i3", -1), ("a", "i2", -1), ("a", "i1", -1), ("b", "i1", -2), ("a", "i2", -1), ("a", "i9", 0)]
    data = build_training_set(_interactions(rows), _items(), as_of=AS_OF)
    expected = pl.DataFrame(
        [(0, 1, -1), (0, 0, -1), (0, 1, -1), (1, 0, -2), (1, 2, -1)],
        schema=["user_index", "item_index", "hour"],
        orient="row",
    ).select(
        pl.col("user_index", "item_index").cast(pl.UInt32),
        timestamp=(pl.lit(AS_OF) + pl.duration(hours="hour")).cast(TIME),
        weight=pl.lit(1.0, pl.Float32),
        event_index=pl.lit(0, pl.UInt32),
    )
    assert_frame_equal(data.events, expected)
    assert data.event_types == ("view",)


def test_event_types_weigh_what_they_are_given() -> None:
    rows = [("a", "i", -3, "view"), ("a", "i", -2, "buy"), ("a", "j", -1, "like"), ("b", "j", -1, "view")]
    weights = {"view": 0.5, "buy": 3.0}
    data = build_training_set(_interactions(rows), _items(), as_of=AS_OF, event_weights=weights)
    assert data.matrix.toarray().tolist() == [[3.0, 1.0], [0.0, 0.5]]


def test_a_weight_of_zero_leaves_an_event_out() -> None:
    rows = [("a", "i", -3, "view"), ("b", "j", -1, "bounce")]
    data = build_training_set(_interactions(rows), _items(), as_of=AS_OF, event_weights={"bounce": 0.0})
    assert (data.user_ids.to_list(), data.item_ids.to_list()) == (["a"], ["i"])


@pytest.mark.parametrize(("hour", "weights"), [(0, {}), (-1, {"view": 0.0})])
def test_nothing_to_learn_from_is_an_error(hour: int, weights: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="None of 1 interactions is left to learn from before 2024-03-01 00:00"):
        build_training_set(_interactions([("a", "i", hour)]), _items("i"), as_of=AS_OF, event_weights=weights)


CATALOGUE = {
    "ids": ("dateless", "future", "gone", "now", "past", "seen_future"),
    "published": (None, 1, -1, 0, -1, 1),
    "available": (True, True, False, True, True, True),
}


@pytest.mark.parametrize(
    ("only_known_items", "has_clock", "expected"),
    [
        (False, True, ["dateless", "past", "seen_future", "unlisted"]),
        (True, True, ["past", "seen_future", "unlisted"]),
        (False, False, ["dateless", "future", "now", "past", "seen_future", "unlisted"]),
        (True, False, ["seen_future", "unlisted"]),
    ],
)
def test_what_may_be_recommended(only_known_items: bool, has_clock: bool, expected: list[str]) -> None:
    moments = [None if when is None else AS_OF + when * HOUR for when in CATALOGUE["published"]]  # type: ignore[operator]
    published = pl.Series(moments, dtype=TIME)
    items = _items(*CATALOGUE["ids"], available=CATALOGUE["available"], published_at=published)  # type: ignore[arg-type]
    rows = [("a", "seen_future", -1), ("a", "unlisted", -1), ("a", "gone", -1)]
    data = build_training_set(
        _interactions(rows), items, as_of=AS_OF, has_clock=has_clock, only_known_items=only_known_items
    )
    assert _candidates(data) == expected


def test_vectors_are_of_length_one_in_the_order_of_items_and_zero_where_missing() -> None:
    vectors = pl.DataFrame(
        {
            "item_id": ["j", "i", "k", "stranger"],
            "vector": pl.Series([[3.0, 4.0], None, [0.0, 0.0], [1.0, 1.0]], dtype=pl.List(pl.Float32)),
        }
    )
    events = _interactions([("a", "i", -1)])
    data = build_training_set(events, _items("j", "k"), as_of=AS_OF, item_vectors={"text_llm": vectors})
    found = data.item_vectors["text_llm"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8], [0, 0]], rtol=1e-6)
    nothing = vectors.with_columns(vector=pl.lit(None, pl.List(pl.Float32)))
    data = build_training_set(events, _items("j"), as_of=AS_OF, item_vectors={"text_llm": nothing})
    assert data.item_vectors["text_llm"].shape == (2, 0)


def test_categories_as_a_matrix() -> None:
    categories = pl.Series([["x", "y", "x"], []], dtype=pl.List(pl.String))
    data = build_training_set(_interactions([("a", "h", -1)]), _items("j", "k", categories=categories), as_of=AS_OF)
    assert data.item_categories is not None
    assert data.item_categories.toarray().tolist() == [[0, 0], [1, 1], [0, 0]]
    data = build_training_set(_interactions([("a", "h", -1)]), _items("j"), as_of=AS_OF)
    assert data.item_categories is None


def test_a_valued_event_weighs_as_much_as_its_value() -> None:
    rows = _interactions([("a", item, -3) for item in "ijkl"]).with_columns(
        event=pl.Series(["progress", "progress", "progress", "view"]), value=pl.Series([0.25, None, 0.0, 7.0])
    )
    data = build_training_set(
        rows, _items(*"ijkl"), as_of=AS_OF, event_weights={"progress": 4.0}, valued_events=["progress"]
    )
    assert data.matrix.toarray().tolist() == [[1.0, 4.0, 0.0, 1.0]]
