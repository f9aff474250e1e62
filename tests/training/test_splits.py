from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.splits import (
    Split,
    end_of,
    rolling_splits,
    split_as_given,
    split_at,
    split_by_time,
    split_leave_one_out,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
Rows = list[tuple[int, int, int]]
MANY = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 20)), min_size=12, max_size=60)


def _interactions(rows: Rows) -> pl.DataFrame:
    """(user, item, day), sorted by time as clean interactions are; equal times keep their order."""
    return (
        pl.DataFrame(rows, schema=["user", "item", "day"], orient="row")
        .sort("day", maintain_order=True)
        .select(
            user_id=pl.format("u{}", "user"),
            item_id=pl.format("i{}", "item"),
            timestamp=(pl.lit(START) + pl.duration(days="day")).cast(pl.Datetime("us", "UTC")),
        )
    )


def _split_or_skip(rows: Rows, split: object) -> Split:
    try:
        return split(_interactions(rows))  # type: ignore[operator, no-any-return]
    except TrainingError:
        assume(False)
        raise


def _holds_no_leak(split: Split) -> None:
    assert (split.past["timestamp"] < split.as_of).all()
    assert not split.truth.is_empty()
    assert split.truth.columns == ["user_id", "item_id"]
    assert split.truth.is_unique().all()
    assert split.truth.join(split.past, on=["user_id", "item_id"], how="semi").is_empty()
    assert split.truth.join(split.past, on="user_id", how="anti").is_empty()


@settings(max_examples=120, deadline=None)
@given(MANY, st.sampled_from([0.5, 0.8, 0.9]))
def test_a_split_by_time_leaks_nothing(rows: Rows, share: float) -> None:
    split = _split_or_skip(rows, lambda frame: split_by_time(frame, share))
    _holds_no_leak(split)
    interactions = _interactions(rows)
    assert split.past.height <= share * len(rows)
    later = interactions.filter(pl.col("timestamp") >= split.as_of)
    assert later.height + split.past.height == len(rows)
    assert later["timestamp"][0] == split.as_of


@settings(max_examples=120, deadline=None)
@given(MANY)
def test_leave_one_out_takes_each_users_last_row(rows: Rows) -> None:
    split = _split_or_skip(rows, split_leave_one_out)
    _holds_no_leak(split)
    frame = _interactions(rows)
    last = {user: item for user, item, _ in frame.iter_rows()}
    counts = dict(frame["user_id"].value_counts().iter_rows())
    assert split.past.height == frame.height - sum(n > 1 for n in counts.values())
    assert {user: last[user] for user in split.truth["user_id"]} == dict(split.truth.iter_rows())
    assert split.as_of > frame["timestamp"].max()  # type: ignore[operator]


@settings(max_examples=120, deadline=None)
@given(MANY, st.integers(1, 9))
def test_rolling_windows_partition_the_test_part(rows: Rows, days: int) -> None:
    whole = _split_or_skip(rows, split_by_time)
    steps = list(rolling_splits(_interactions(rows), step=days * DAY))
    assert len(steps) >= 1
    for step in steps:
        _holds_no_leak(step)
        assert (step.as_of - whole.as_of) % (days * DAY) == timedelta(0)
    starts = [step.as_of for step in steps]
    assert starts == sorted(set(starts))
    # Each first time of a known user and an item lies in exactly one step.
    pairs = pl.concat([step.truth for step in steps])
    assert pairs.is_unique().all()
    assert whole.truth.join(pairs, on=["user_id", "item_id"], how="anti").is_empty()


def test_ties_on_the_boundary_go_to_the_later_side() -> None:
    rows = [(n % 2, n, min(n, 10)) for n in range(20)]
    split = split_by_time(_interactions(rows))
    assert split.as_of == START + 10 * DAY
    assert split.past.height == 10
    assert split.truth["item_id"].to_list() == [f"i{n}" for n in range(10, 20)]


def test_the_last_by_time_then_by_row() -> None:
    rows = [(0, item, 1) for item in (7, 2, 5)] + [(1, item, day) for item, day in ((9, 3), (8, 2))] + [(2, 1, 9)]
    more = [(3, item, 0) for item in range(10)]
    split = split_leave_one_out(_interactions([*rows, *more]))
    assert dict(split.truth.sort("user_id").iter_rows()) == {"u0": "i5", "u1": "i9", "u3": "i9"}
    assert "u2" in split.past["user_id"]
    assert split.past.columns == ["user_id", "item_id", "timestamp"]


def test_truth_is_of_known_users_with_items_new_to_them() -> None:
    known = [(0, item, 0) for item in range(10)]
    later = [(0, 3, 5), (0, 20, 5), (0, 20, 6), (1, 21, 6)]
    split = split_at(_interactions([*known, *later]), START + DAY)
    assert_frame_equal(split.truth, pl.DataFrame({"user_id": ["u0"], "item_id": ["i20"]}))


@pytest.mark.parametrize("split", [split_by_time, split_leave_one_out])
def test_too_few_interactions(split: object) -> None:
    with pytest.raises(TrainingError, match=r"too few interactions .*at least 10 interactions"):
        split(_interactions([(0, item, item) for item in range(9)]))  # type: ignore[operator]


def test_a_single_timestamp_cannot_be_split_by_time() -> None:
    with pytest.raises(TrainingError, match=r"\(0 on the smaller side\)"):
        split_by_time(_interactions([(0, item, 4) for item in range(30)]))


def test_nobody_who_comes_back_for_something_new() -> None:
    strangers = [(day, day, day) for day in range(30)]
    with pytest.raises(TrainingError, match="Nobody of 24 users in the training part takes anything new in the 6"):
        split_by_time(_interactions(strangers))
    with pytest.raises(TrainingError, match="Nobody of 1 users"):
        split_leave_one_out(_interactions([(0, 1, day) for day in range(12)]))


def test_years_of_silence_are_no_steps() -> None:
    rows = [(0, item, item) for item in range(20)] + [(0, 30, 20_000)]
    steps = list(rolling_splits(_interactions(rows), step=DAY))
    assert [step.truth.height for step in steps] == [1, 1, 1, 1, 1]
    assert steps[-1].past.height == 20


def test_the_end_is_a_tick_after_the_last() -> None:
    assert end_of(_interactions([(0, 0, 3), (0, 0, 2)])) == START + 3 * DAY + timedelta(microseconds=1)


def test_a_data_sets_own_split() -> None:
    rows = pl.DataFrame(
        {"split": ["train", "test", "val", "train", "dev"], "text": ["a", "b", "c", "b", "d"], "label": [0, 1, 0, 1, 1]}
    )
    given_ = split_as_given(rows)
    assert_frame_equal(given_.train, pl.DataFrame({"text": ["a", "b"], "label": [0, 1]}))
    assert_frame_equal(given_.validation, pl.DataFrame({"text": ["c", "d"], "label": [0, 1]}))
    assert_frame_equal(given_.test, pl.DataFrame({"text": ["b"], "label": [1]}))
    assert given_.overlap == 1


@pytest.mark.parametrize(
    ("parts", "culprits"),
    [(["train", "test", "vall"], ("vall",)), (["train", "test", None], (None,)), (["train", "val", "val"], ("test",))],
)
def test_rows_of_no_part_and_empty_parts_are_refused(parts: list[str | None], culprits: tuple[str | None, ...]) -> None:
    with pytest.raises(TrainingError, match="does not split the rows") as caught:
        split_as_given(pl.DataFrame({"split": parts, "text": ["a", "b", "c"]}))
    assert caught.value.culprits == culprits
