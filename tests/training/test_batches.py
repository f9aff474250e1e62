from datetime import UTC, datetime

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.training.batches import (
    Histories,
    gap_buckets,
    histories_from,
    histories_of,
    latest_windows,
    training_batches,
    training_windows,
)


def _histories(lengths: list[int]) -> Histories:
    n = sum(lengths)
    return Histories(
        items=np.arange(100, 100 + n),
        gaps=np.arange(n) % 5,
        events=np.arange(n) % 3,
        weights=np.arange(1, n + 1, dtype=np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _training_set(*, has_clock: bool = True) -> TrainingSet:
    seconds = [0, 1, 1000, 50, 50]
    times = [datetime.fromtimestamp(second, UTC) for second in seconds]
    events = pl.DataFrame(
        {
            "user_index": [0, 0, 0, 2, 2], "item_index": [3, 1, 2, 0, 0], "timestamp": times,
            "weight": [1, 2, 3, 4, 5], "event_index": [1, 0, 1, 2, 1],
        },
        schema={
            "user_index": pl.UInt32, "item_index": pl.UInt32, "timestamp": pl.Datetime("us", "UTC"),
            "weight": pl.Float32, "event_index": pl.UInt32,
        },
    )  # fmt: skip
    return TrainingSet(
        user_ids=pl.Series(["a", "b", "c"]),
        item_ids=pl.Series(["p", "q", "r", "s"]),
        events=events,
        is_candidate=np.ones(4, dtype=bool),
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
        event_types=("buy", "like", "view"),
        has_clock=has_clock,
    )


def test_histories_lie_end_to_end_with_bucketed_gaps() -> None:
    histories = histories_of(_training_set(), time_buckets=8)
    assert histories.items.tolist() == [3, 1, 2, 0, 0]
    assert histories.offsets.tolist() == [0, 3, 3, 5]
    assert histories.gaps.tolist() == [0, 2, 7, 0, 1]
    assert histories.weights.tolist() == [1, 2, 3, 4, 5]


def test_without_a_clock_no_gap_is_known() -> None:
    assert histories_of(_training_set(has_clock=False), time_buckets=8).gaps.tolist() == [0] * 5


def test_fresh_histories_equal_stored_ones() -> None:
    stored = histories_of(_training_set(), time_buckets=8)
    fresh = histories_from(
        [np.array([3, 1, 2]), np.array([0, 0])], [np.array([0, 1, 1000]), np.array([50, 50])], time_buckets=8
    )
    assert fresh.items.tolist() == stored.items.tolist()
    assert fresh.gaps.tolist() == stored.gaps.tolist()


def test_event_types_are_numbered_as_asked_for_in_stored_and_fresh_histories() -> None:
    asked = ("like", "share", "buy")
    assert histories_of(_training_set(), time_buckets=8, event_types=asked).events.tolist() == [1, 3, 1, 0, 1]
    said = [["like", "buy", "like"], ["view", "like"]]
    items = [np.array([3, 1, 2]), np.array([0, 0])]
    fresh = histories_from(items, None, time_buckets=8, events=said, event_types=asked)
    assert fresh.events.tolist() == [1, 3, 1, 0, 1]
    assert histories_from(items, None, time_buckets=8, event_types=asked).events.tolist() == [0] * 5


def test_gaps_that_run_backwards_count_as_none() -> None:
    buckets = gap_buckets(np.array([10, 5, 6]), np.array([True, False, False]), 4)
    assert buckets.tolist() == [0, 1, 2]


def test_latest_windows_are_padded_at_the_end() -> None:
    windows = latest_windows(_histories([2, 5]), np.array([1, 0]), 3)
    assert windows.items.tolist() == [[104, 105, 106], [100, 101, 0]]
    assert windows.lengths.tolist() == [3, 2]
    assert (windows.targets == -1).all()


def test_a_batch_asks_for_the_next_item_of_the_same_user() -> None:
    (windows,) = training_batches(_histories([3, 1, 2]), 10, 8, seed=0)
    rows = sorted(zip(windows.items.tolist(), windows.targets.tolist(), windows.weights.tolist(), strict=True))
    assert rows == [([100, 101], [101, 102], [2, 3]), ([104, 0], [105, -1], [6, 0])]


@given(st.lists(st.integers(0, 23), min_size=1, max_size=12), st.integers(1, 7), st.integers(0, 30))
def test_every_pair_lies_in_exactly_one_window(lengths: list[int], length: int, shift: int) -> None:
    histories = _histories(lengths)
    starts, sizes = training_windows(histories, length, shift)
    assert (sizes >= 1).all()
    assert (sizes <= length).all()
    covered = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True)] or [np.zeros(0)])
    last = histories.offsets[1:][histories.lengths > 0] - 1
    assert sorted(covered) == sorted(set(range(sum(lengths))) - set(last.tolist()))


def test_batches_depend_on_the_seed_alone() -> None:
    histories = _histories([3, 9, 4, 7, 2, 8] * 5)
    one, same, other = (list(training_batches(histories, 4, 6, seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a.items, b.items) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a.items, b.items) for a, b in zip(one, other, strict=False))
