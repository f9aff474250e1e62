"""Nothing that a training sees is newer than its cut: neither what it learns from, nor what it has to say next.

Whatever is done to the events at and after the cut (dropped, doubled, given other items and users), the past, every
feature computed from it and every target of the network stay what they were, bit by bit.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.histories import user_histories
from genre_pipeline.features.statistics import item_statistics, user_statistics
from genre_pipeline.training.batches import histories_of, latest_windows, training_batches
from genre_pipeline.training.splits import Split, rolling_splits, split_at, split_by_time, split_leave_one_out

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EVENT = st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 20))
WORLDS = st.lists(EVENT, min_size=14, max_size=50)
LATER = st.lists(EVENT, max_size=10)
ITEMS = pl.DataFrame({"item_id": [f"i{item}" for item in range(9)]}).with_columns(
    available=pl.lit(True), published_at=pl.lit(START - DAY), categories=pl.lit([], pl.List(pl.String))
)


def _interactions(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    return (
        pl.DataFrame(rows, schema=["user", "item", "day"], orient="row")
        .sort("day", maintain_order=True)
        .select(
            user_id=pl.format("u{}", "user"),
            item_id=pl.format("i{}", "item"),
            timestamp=(pl.lit(START) + pl.duration(days="day")).cast(pl.Datetime("us", "UTC")),
            event=pl.lit("view"),
            value=pl.col("item").cast(pl.Float64),
        )
    )


def _split(rows: list[tuple[int, int, int]], how: Callable[[pl.DataFrame], Split]) -> Split:
    try:
        return how(_interactions(rows))
    except TrainingError:
        assume(False)
        raise


def _training_set(split: Split) -> TrainingSet:
    return build_training_set(split.past, ITEMS, as_of=split.as_of, only_known_items=True)


def _features(split: Split) -> list[pl.DataFrame]:
    computed = (item_statistics, user_statistics, user_histories)
    return [feature(split.past, as_of=split.as_of) for feature in computed]


def _network_sees(data: TrainingSet) -> list[np.ndarray]:
    """Every array that the sequence network reads or has to predict in two epochs, and reads to be judged."""
    histories = histories_of(data, time_buckets=8)
    windows = [one for seed in (1, 2) for one in training_batches(histories, 4, 3, seed)]
    windows.append(latest_windows(histories, np.arange(data.n_users), 4))
    return [array for one in windows for array in vars(one).values()]


@settings(max_examples=40, deadline=None)
@given(WORLDS, LATER, st.sampled_from([0.5, 0.8]))
def test_no_change_after_the_cut_reaches_a_training(
    rows: list[tuple[int, int, int]], others: list[tuple[int, int, int]], share: float
) -> None:
    split = _split(rows, lambda frame: split_by_time(frame, share))
    cut = (split.as_of - START) // DAY
    changed = [row for row in rows if row[2] < cut] + [(user, item, cut + day) for user, item, day in others]
    again = _split(changed, lambda frame: split_at(frame, split.as_of))
    assert_frame_equal(again.past, split.past)
    for mine, theirs in zip(_features(split), _features(again), strict=True):
        assert_frame_equal(mine, theirs)
    one, other = _training_set(split), _training_set(again)
    assert_frame_equal(one.events, other.events)
    assert (one.is_candidate == other.is_candidate).all()
    for left, right in zip(_network_sees(one), _network_sees(other), strict=True):
        np.testing.assert_array_equal(left, right)


def _ways(frame: pl.DataFrame) -> list[Split]:
    return [split_by_time(frame), split_leave_one_out(frame), *rolling_splits(frame, step=3 * DAY)]


@settings(max_examples=40, deadline=None)
@given(WORLDS)
def test_features_and_targets_are_older_than_the_cut_of_every_split(rows: list[tuple[int, int, int]]) -> None:
    frame = _interactions(rows)
    try:
        splits = _ways(frame)
    except TrainingError:
        assume(False)
    for split in splits:
        assert (split.past["timestamp"] < split.as_of).all()
        for feature in _features(split):
            assert (feature["event_timestamp"] == split.as_of).all()
        histories = _features(split)[2]
        assert histories["timestamps"].explode().max() < split.as_of.timestamp()  # type: ignore[operator]
        events = _training_set(split).events
        assert (events["timestamp"] < split.as_of).all()
        assert events.height == split.past.height


@settings(max_examples=40, deadline=None)
@given(WORLDS)
def test_leaving_one_out_leaves_nothing_newer_of_that_user(rows: list[tuple[int, int, int]]) -> None:
    split = _split(rows, split_leave_one_out)
    asked = _interactions(rows).join(split.truth, on=["user_id", "item_id"], how="semi")
    last = asked.group_by("user_id").agg(pl.col("timestamp").max().alias("left_out"))
    known = split.past.join(last, on="user_id", how="inner")
    assert (known["timestamp"] <= known["left_out"]).all()


def test_the_property_can_fail() -> None:
    """A feature computed from everything, instead of the past, is caught."""
    rows = [(user, item, day) for day in range(16) for user, item in ((0, day % 9), (1, (day + 3) % 9))]
    split = split_at(_interactions(rows), START + 8 * DAY)
    leaking = item_statistics(_interactions(rows), as_of=split.as_of + 8 * DAY)
    with pytest.raises(AssertionError):
        assert_frame_equal(leaking, item_statistics(split.past, as_of=split.as_of))
