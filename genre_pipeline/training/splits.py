"""Honest splits: train on the past, judge on what came later. Every cut is stated as data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import TrainingError

_GIVEN_PARTS = {"train": "train", "test": "test", **dict.fromkeys(("validation", "valid", "val", "dev"), "validation")}
SMALLEST_SPLIT = 10
"""Interactions below which a split says nothing."""


@dataclass(frozen=True)
class Split:
    """Interactions known at the cut, and the later truth about users known at the cut."""

    past: pl.DataFrame
    """`Interactions` before the cut."""
    truth: pl.DataFrame
    """Distinct user_id, item_id of later interactions, of known users, with items new to the user; never empty."""
    as_of: datetime
    """The exclusive end of the past, as `build_training_set` takes it."""


def split_by_time(interactions: pl.DataFrame, train_share: float = 0.8) -> Split:
    """Cut at the time before which `train_share` of the interactions lie; ties on the boundary go to the later side.

    Raises `TrainingError` where either side would be nearly empty, as with a single timestamp, and where nobody known
    before the cut takes anything new after it.
    """
    times = interactions[TIMESTAMP].sort()
    if len(times) < SMALLEST_SPLIT:
        raise _too_little(len(times))
    return split_at(interactions, times[int(len(times) * train_share)])


def split_at(interactions: pl.DataFrame, cut: datetime) -> Split:
    """What is known before `cut`, against what known users do from `cut` on. Raises `TrainingError` as above."""
    past = interactions.filter(pl.col(TIMESTAMP) < cut)
    future = interactions.filter(pl.col(TIMESTAMP) >= cut)
    if past.height < SMALLEST_SPLIT or future.is_empty():
        raise _too_little(min(past.height, future.height))
    return Split(past, _truth(future, past), cut)


def split_leave_one_out(interactions: pl.DataFrame) -> Split:
    """Each user's last interaction is the truth; equal times go by row order. Users with one interaction only train."""
    ordered = interactions.with_columns(
        pl.int_range(pl.len()).over(USER_ID, order_by=TIMESTAMP).alias("place"), pl.len().over(USER_ID).alias("length")
    )
    is_last = (pl.col("place") == pl.col("length") - 1) & (pl.col("length") > 1)
    columns = interactions.columns
    past, last = ordered.filter(~is_last).select(columns), ordered.filter(is_last).select(columns)
    if past.height < SMALLEST_SPLIT or last.is_empty():
        raise _too_little(min(past.height, last.height))
    return Split(past, _truth(last, past), end_of(interactions))


@dataclass(frozen=True)
class GivenSplit:
    """The parts of a data set that brings its own split, without the column that says so; none is empty."""

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    overlap: int
    """Training rows that are in validation or test too, word for word: a data set's own leak, told and not mended."""


def split_as_given(rows: pl.DataFrame, *, column: str = "split") -> GivenSplit:
    """The parts that `column` (String) names: train; validation, valid, val or dev; test. For rows without users.

    Raises `TrainingError` where a row is in no such part, or a part is empty.
    """
    parts = rows.with_columns(pl.col(column).replace_strict(_GIVEN_PARTS, default=None))
    lost = rows.filter(parts[column].is_null())[column].unique().sort().to_list()
    found = {name: parts.filter(pl.col(column) == name).drop(column) for name in ("train", "validation", "test")}
    empty = [name for name, part in found.items() if part.is_empty()]
    if lost or empty:
        raise TrainingError(
            f"The column {column!r} does not split the rows into train, validation and test",
            remedy="Name one of the three in every row.",
            culprits=lost or empty,
        )
    judged = pl.concat([found["validation"], found["test"]])
    overlap = found["train"].join(judged.unique(), on=judged.columns, how="semi", nulls_equal=True).height
    return GivenSplit(**found, overlap=overlap)


def end_of(interactions: pl.DataFrame) -> datetime:
    """The exclusive end of all interactions: a microsecond, the clock's tick, after the last."""
    last: datetime = interactions.get_column(TIMESTAMP).sort().item(-1)
    return last + timedelta(microseconds=1)


def rolling_splits(interactions: pl.DataFrame, *, step: timedelta, train_share: float = 0.8) -> Iterator[Split]:
    """The test part in steps, each with everything before it as its past: what a nightly job would have known.

    Steps in which no known user takes anything new are left out. Raises `TrainingError` as `split_by_time`.
    """
    cut = split_by_time(interactions, train_share).as_of
    times = interactions.filter(pl.col(TIMESTAMP) >= cut)[TIMESTAMP]
    numbers = (times - cut).dt.total_microseconds() // (step // timedelta(microseconds=1))
    for number in numbers.unique().sort():
        start = cut + number * step
        past = interactions.filter(pl.col(TIMESTAMP) < start)
        future = interactions.filter(pl.col(TIMESTAMP).is_between(start, start + step, closed="left"))
        truth = _new_pairs(future, past)
        if not truth.is_empty():
            yield Split(past, truth, start)


def _truth(future: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    pairs = _new_pairs(future, past)
    if pairs.is_empty():
        raise TrainingError(
            f"Nobody of {past[USER_ID].n_unique():,} users in the training part takes anything new in the "
            f"{future.height:,} interactions after it",
            remedy="Give a longer history: the same users have to come back.",
        )
    return pairs


def _new_pairs(future: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    pairs = future.select(USER_ID, ITEM_ID).unique(maintain_order=True)
    known = pairs.join(past.select(USER_ID).unique(), on=USER_ID, how="semi", maintain_order="left")
    return known.join(past.select(USER_ID, ITEM_ID), on=[USER_ID, ITEM_ID], how="anti", maintain_order="left")


def _too_little(n: int) -> TrainingError:
    return TrainingError(
        f"There are too few interactions to split into a past and a future ({n} on the smaller side)",
        remedy=f"Give at least {SMALLEST_SPLIT} interactions with different timestamps.",
    )
