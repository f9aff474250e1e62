import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from genre_pipeline.evaluation.intervals import IntervalConfig
from genre_pipeline.evaluation.segments import (
    SegmentConfig,
    history_segments,
    popularity_segments,
    segment_tables,
)

ANY_SIZE = IntervalConfig(resamples=200, min_users=1)


def lists(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    flat = [(name, user, item, rank) for name, user, items in rows for rank, item in enumerate(items, start=1)]
    schema = {"recommender": pl.String, "user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32}
    return pl.DataFrame(flat, schema=schema, orient="row")


ITEMS = pl.DataFrame(
    {
        "item_id": ["hit", "known", "rare", "unseen", "new"],
        "popularity": [50, 40, 10, 0, 0],
        "is_cold": [False, False, False, False, True],
    }
)
USERS = pl.DataFrame({"user_id": ["light", "heavy"], "history_length": [2, 90]})
TRUTH = pl.DataFrame({"user_id": ["light", "heavy", "heavy", "nobody"], "item_id": ["hit", "rare", "new", "known"]})
LISTS = lists(
    [
        ("hybrid", "light", ["hit"]),
        ("hybrid", "heavy", ["known"]),
        ("hybrid", "nobody", ["hit"]),
        ("part", "light", ["hit"]),
        ("part", "heavy", ["rare"]),
        ("part", "nobody", ["known"]),
    ]
)


def test_history_segments_at_their_edges():
    users = pl.DataFrame({"user_id": list("abcdef"), "history_length": [0, 1, 5, 6, 50, 51]})
    segments = history_segments(users, SegmentConfig())
    assert segments["segment"].to_list() == ["cold", "light", "light", "medium", "medium", "heavy"]


def test_popularity_segments_by_cumulative_share_without_cold_items():
    expected = pl.DataFrame({"item_id": ["hit", "known", "rare", "unseen"], "segment": ["head", "mid", "tail", "tail"]})
    assert_frame_equal(popularity_segments(ITEMS, SegmentConfig()), expected)


def test_popularity_ties_go_to_the_smaller_id():
    items = pl.DataFrame({"item_id": ["b", "a"], "popularity": [1, 1], "is_cold": [False, False]})
    assert popularity_segments(items, SegmentConfig()).rows() == [("a", "head"), ("b", "mid")]


def test_every_segment_with_a_user_is_judged():
    tables = segment_tables(LISTS, TRUTH, USERS, ITEMS, 10, seed=0, intervals=ANY_SIZE)
    recall = tables.metrics.filter(pl.col("metric") == "recall")
    expected = pl.DataFrame(
        [
            ("history", "cold", "hybrid", 0.0, 1),
            ("history", "cold", "part", 1.0, 1),
            ("history", "light", "hybrid", 1.0, 1),
            ("history", "light", "part", 1.0, 1),
            ("history", "heavy", "hybrid", 0.0, 1),
            ("history", "heavy", "part", 0.5, 1),
            ("item_popularity", "head", "hybrid", 1.0, 1),
            ("item_popularity", "head", "part", 1.0, 1),
            ("item_popularity", "mid", "hybrid", 0.0, 1),
            ("item_popularity", "mid", "part", 1.0, 1),
            ("item_popularity", "tail", "hybrid", 0.0, 1),
            ("item_popularity", "tail", "part", 1.0, 1),
        ],
        schema={"kind": pl.String, "segment": pl.String, "recommender": pl.String, "value": pl.Float64}
        | {"users": pl.UInt32},
        orient="row",
    )
    assert_frame_equal(recall.select(expected.columns), expected)


def test_cold_items_are_judged_on_their_own_lists_and_silence_counts_as_zero():
    cold = lists([("content", "heavy", ["hit", "new"])])
    tables = segment_tables(LISTS, TRUTH, USERS, ITEMS, 10, seed=0, cold_recommendations=cold, intervals=ANY_SIZE)
    rows = tables.metrics.filter(pl.col("kind") == "cold_items", pl.col("metric") == "mrr")
    assert rows.select("recommender", "value", "users", "k").rows() == [
        ("content", 0.5, 1, 50),
        ("hybrid", 0.0, 1, 50),
        ("part", 0.0, 1, 50),
    ]
    against = tables.against_best.filter(pl.col("kind") == "cold_items", pl.col("metric") == "recall")
    assert against.select("best_part", "difference", "is_worse").row(0) == ("content", -1.0, True)


def test_the_champion_is_flagged_where_it_loses_and_only_there():
    against = segment_tables(LISTS, TRUTH, USERS, ITEMS, 10, seed=0, intervals=ANY_SIZE).against_best
    worse = against.filter(pl.col("metric") == "recall").select("segment", "is_worse", "is_clearly_worse").rows()
    assert worse == [
        ("cold", True, True),
        ("light", False, False),
        ("heavy", True, True),
        ("head", False, False),
        ("mid", True, True),
        ("tail", True, True),
    ]
    heavy = against.filter(pl.col("segment") == "heavy", pl.col("metric") == "recall").row(0, named=True)
    assert (heavy["value"], heavy["best_part"], heavy["best_value"], heavy["users"]) == (0.0, "part", 0.5, 1)


def test_too_few_users_are_never_a_clear_loss():
    against = segment_tables(LISTS, TRUTH, USERS, ITEMS, 10, seed=0).against_best
    assert against["is_worse"].any()
    assert not against["is_clearly_worse"].any()
    assert against["low"].is_null().all()


@pytest.mark.parametrize("wrong", [{"light": 60}, {"head_share": 0.95}])
def test_segments_must_grow(wrong):
    with pytest.raises(ValidationError, match="segments must grow"):
        SegmentConfig(**wrong)
