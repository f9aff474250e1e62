"""Features after events: the night's own rules, and harmless when repeated."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.adapters.table_records import Publication
from genre_pipeline.features.histories import HistoryConfig, user_histories, user_vectors
from genre_pipeline.serving.freshness import refreshed_features
from genre_pipeline.serving.published import PublishedRun, load_published_run
from tests import scenario
from tests.fakes import serving_world as world

CONFIG = HistoryConfig()


@pytest.fixture(scope="module")
def run(night: Path) -> PublishedRun:
    live = Publication("default", "run-1", scenario.LAST_DAY, scenario.AS_OF, scenario.AS_OF, None)
    return load_published_run(live, PartitionStore(night))


def events(*rows: tuple[str, str, float]) -> pl.DataFrame:
    """user, item, hours after `as_of`."""
    return pl.DataFrame(
        [
            (f"{number}", user, item, scenario.AS_OF + timedelta(hours=hours), "view", None)
            for number, (user, item, hours) in enumerate(rows)
        ],
        schema={
            "event_id": pl.String, "user_id": pl.String, "item_id": pl.String,
            "timestamp": pl.Datetime("us", "UTC"), "event": pl.String, "value": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def of_users(view: str, *user_ids: str) -> pl.DataFrame:
    return world.user_features()[view].filter(pl.col("user_id").is_in(user_ids))


def test_a_day_of_events_gives_what_the_next_night_gives(run: PublishedRun) -> None:
    day = events(("007", "i20", 1), ("001", "i09", 2), ("007", "i21", 3))
    rows = refreshed_features(
        run, day, of_users("user_histories", "001", "007"), of_users("user_statistics", "001", "007"), config=CONFIG
    )
    past = world.interactions()
    following = pl.concat([past, day.select(past.columns)])
    night = user_histories(following, as_of=scenario.AS_OF + timedelta(days=1))
    expected = night.filter(pl.col("user_id").is_in(["001", "007"]))
    assert rows["user_histories"].drop("event_timestamp").equals(expected.drop("event_timestamp"))
    vectors = user_vectors(expected, world.item_vectors(), model=world.MODEL)
    for fresh, nightly in zip(rows["user_vectors"]["vector"], vectors["vector"], strict=True):
        assert fresh.to_list() == pytest.approx(nightly.to_list(), abs=1e-5)


def test_events_a_history_holds_move_no_statistic(run: PublishedRun) -> None:
    posted = events(("007", "i20", 1))
    once = refreshed_features(
        run, posted, of_users("user_histories", "007"), of_users("user_statistics", "007"), config=CONFIG
    )
    again = refreshed_features(run, posted, once["user_histories"], once["user_statistics"], config=CONFIG)
    assert "user_statistics" not in again
    assert again["user_histories"].equals(once["user_histories"])


def test_new_user_with_an_item_nobody_knows_has_a_null_vector(run: PublishedRun) -> None:
    rows = refreshed_features(
        run, events(("new", "nowhere", 1)), of_users("user_histories"), of_users("user_statistics"), config=CONFIG
    )
    assert rows["user_vectors"]["vector"].to_list() == [None]
    assert rows["user_histories"]["item_ids"].to_list() == [["nowhere"]]


@settings(max_examples=30, deadline=None)
@given(
    hours=st.lists(st.integers(-200, 5), min_size=1, max_size=12, unique=True),
    cut=st.integers(0, 12),
)
def test_the_order_in_which_events_arrive_does_not_matter(run: PublishedRun, hours: list[int], cut: int) -> None:
    posted = events(*((("007"), scenario.ITEM_IDS[index], hour) for index, hour in enumerate(hours)))
    histories, statistics = of_users("user_histories", "007"), of_users("user_statistics", "007")
    at_once = refreshed_features(run, posted, histories, statistics, config=CONFIG)["user_histories"]
    for part in (posted[cut:], posted[:cut]):
        if not part.is_empty():
            histories = refreshed_features(run, part, histories, statistics, config=CONFIG)["user_histories"]
    assert histories.equals(at_once)
