from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from genre_pipeline.contracts.tables import LOGGED_SCHEMA, OnlineMetrics
from genre_pipeline.evaluation.feedback import (
    FeedbackConfig,
    click_rates,
    joined_feedback,
    online_metrics,
    rank_metrics,
)
from genre_pipeline.evaluation.feedback_figure import feedback_figure
from genre_pipeline.evaluation.intervals import IntervalConfig

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONFIG = FeedbackConfig(positive_events=("click", "buy"), window_hours=2)
INTERVALS = IntervalConfig(resamples=200)
SCHEMA = {name: kind for name, kind in LOGGED_SCHEMA.items() if name != "value"}
POPULARITY = pl.DataFrame({"item_id": ["i", "j"], "popularity": [3, 1]}, schema_overrides={"popularity": pl.Int64})


def logged(*rows: tuple[object, ...]) -> pl.DataFrame:
    """(user, item, time, event, variant, rank): an event each, its id its place."""
    full = [
        (str(nth), user, item, at, event, None if variant is None else "run", variant, rank)
        for nth, (user, item, at, event, variant, rank) in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=SCHEMA, orient="row")


def shown(user: str, item: str, at: datetime, variant: str = "default", rank: int = 1) -> tuple[object, ...]:
    return (user, item, at, "impression", variant, rank)


def done(user: str, item: str, at: datetime, event: str = "click") -> tuple[object, ...]:
    return (user, item, at, event, None, None)


def test_a_click_belongs_to_the_last_impression_before_it() -> None:
    events = logged(
        shown("u", "i", START),
        shown("u", "i", START + HOUR, rank=2),
        done("u", "i", START + HOUR),
        done("u", "i", START + 2 * HOUR),
        shown("u", "i", START + 3 * HOUR, rank=3),
        shown("u", "j", START),
        done("v", "j", START + HOUR),
        done("u", "j", START + HOUR, "view"),
    )
    found = joined_feedback(events, CONFIG)
    assert found.select("item_id", "rank", "is_clicked").rows() == [
        ("i", 1, False), ("j", 1, False), ("i", 2, True), ("i", 3, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "counts"), [(timedelta(0), True), (2 * HOUR, True), (2.01 * HOUR, False), (-HOUR, False)]
)
def test_the_window_has_two_ends(after: timedelta, counts: bool) -> None:
    events = logged(shown("u", "i", START), done("u", "i", START + after, "buy"))
    assert joined_feedback(events, CONFIG)["is_clicked"].to_list() == [counts]


def test_replayed_and_resent_events_change_nothing() -> None:
    events = logged(shown("u", "i", START), done("u", "i", START + HOUR), shown("v", "i", START))
    again = pl.concat([events, events.reverse(), events.with_columns(pl.col("event_id") + "-again")])
    assert_frame_equal(joined_feedback(again, CONFIG), joined_feedback(events, CONFIG))


TIMES = st.integers(0, 200).map(lambda minutes: START + timedelta(minutes=minutes))
ROWS = st.lists(
    st.tuples(st.sampled_from("uv"), st.sampled_from("ij"), TIMES, st.sampled_from(["impression", "click", "view"])),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.randoms())
def test_no_click_is_attributed_to_an_impression_after_it(rows, random) -> None:
    events = logged(
        *(
            (user, item, at, event, *(("a", 1) if event == "impression" else (None, None)))
            for user, item, at, event in rows
        )
    )
    found = joined_feedback(events, CONFIG)
    clicks = [(user, item, at) for user, item, at, event in rows if event == "click"]
    impressions = found.select("user_id", "item_id", "timestamp").rows()
    for user, item, at, clicked in found.select("user_id", "item_id", "timestamp", "is_clicked").rows():
        later = [other for who, what, other in impressions if (who, what) == (user, item) and other > at]
        mine = [
            when for who, what, when in clicks
            if (who, what) == (user, item) and at <= when <= at + 2 * HOUR and not any(other <= when for other in later)
        ]  # fmt: skip
        assert clicked == bool(mine)
    assert found["is_clicked"].sum() <= len(clicks)
    order = list(range(len(events)))
    random.shuffle(order)
    assert_frame_equal(joined_feedback(events[order], CONFIG), found)


def test_metrics_by_day_and_variant() -> None:
    events = logged(
        shown("u", "i", START), done("u", "i", START), shown("u", "j", START + HOUR),
        shown("v", "i", START, "a"), shown("v", "new", START + 24 * HOUR, "a"),
    )  # fmt: skip
    found = online_metrics(
        joined_feedback(events, CONFIG), POPULARITY, 4,
        as_of=START + 26 * HOUR, seed=1, config=CONFIG, intervals=INTERVALS,
    )  # fmt: skip
    first, second = date(2026, 3, 2), date(2026, 3, 3)
    rows = [
        (first, "a", 1, 0, 1, 0.0, None, None, 0.25, 0.41503749927884376, True),
        (first, "default", 2, 1, 1, 0.5, None, None, 0.5, 1.207518749639422, True),
        (second, "a", 1, 0, 1, 0.0, None, None, 0.25, 2.0, False),
    ]
    assert_frame_equal(found, OnlineMetrics.cast(pl.DataFrame(rows, schema=OnlineMetrics.column_names(), orient="row")))


def test_known_rates_are_recovered() -> None:
    """100 users of each variant see 10 items; of variant a every second is clicked, of b every fifth."""
    rows = []
    for variant, every in (("a", 2), ("b", 5)):
        for user in range(100):
            for rank in range(1, 11):
                at = START + timedelta(seconds=user)
                rows.append(shown(f"{variant}{user}", f"i{rank}", at, variant, rank))
                if (user + rank) % every == 0:
                    rows.append(done(f"{variant}{user}", f"i{rank}", at + HOUR))
    found = joined_feedback(logged(*rows), CONFIG)
    rates = click_rates(found, ["variant"], seed=1, intervals=INTERVALS)
    assert rates.select("variant", "impressions", "clicks", "users", "ctr").rows() == [
        ("a", 1000, 500, 100, 0.5), ("b", 1000, 200, 100, 0.2),
    ]  # fmt: skip
    assert rates.filter(pl.col("low") <= pl.col("ctr"), pl.col("ctr") <= pl.col("high")).height == 2
    ranks = rank_metrics(found, seed=1, intervals=INTERVALS)
    assert ranks.filter(variant="a")["ctr"].to_list() == [0.5] * 10
    assert all(end is not None for end in ranks["low"])


def test_an_interval_resamples_users_and_not_impressions() -> None:
    """20 users with 50 impressions each, of whom half click everything: the rate is as sure as 20 users make it."""
    rows = [
        row for user in range(20) for nth in range(50)
        for row in [shown(f"u{user}", f"i{nth}", START), *([done(f"u{user}", f"i{nth}", START)] if user % 2 else [])]
    ]  # fmt: skip
    row = click_rates(joined_feedback(logged(*rows), CONFIG), ["variant"], seed=1, intervals=INTERVALS).row(
        0, named=True
    )
    assert row["ctr"] == 0.5
    assert row["high"] - row["low"] > 0.3


def test_nothing_shown_is_an_empty_table_with_its_columns() -> None:
    nothing = joined_feedback(logged(), CONFIG)
    found = online_metrics(nothing, POPULARITY, 4, as_of=START, seed=1, config=CONFIG, intervals=INTERVALS)
    assert OnlineMetrics.is_valid(found)
    assert found.is_empty()
    assert rank_metrics(nothing, seed=1, intervals=INTERVALS).is_empty()


def test_an_impression_is_no_success() -> None:
    with pytest.raises(ValidationError, match="positive_events"):
        FeedbackConfig(positive_events=("impression",))
    with pytest.raises(ValidationError, match="positive_events"):
        FeedbackConfig(positive_events=())


def test_the_picture_is_the_same_for_the_same_numbers() -> None:
    events = joined_feedback(logged(shown("u", "i", START), shown("v", "i", START, "a"), done("v", "i", START)), CONFIG)
    metrics = online_metrics(events, POPULARITY, 4, as_of=START, seed=1, config=CONFIG, intervals=INTERVALS)
    ranks = rank_metrics(events, seed=1, intervals=INTERVALS)
    picture = feedback_figure(metrics, ranks)
    assert picture.startswith(b"\x89PNG")
    assert picture == feedback_figure(metrics, ranks)
    assert picture != feedback_figure(metrics.filter(variant="a"), ranks)
